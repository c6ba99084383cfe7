"""The input and output of an ONNX classifier, as the file declares them and as it behaves."""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from compression.errors import InvalidFile
from compression.host.onnx_runtime import REFUSALS, reason

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
"""Types of scores."""


@dataclass(frozen=True)
class Intake:
    """`image` and `scores` are names in the file. `batch` images go in at once; any number where it is None."""

    image: str
    scores: str
    batch: int | None

    def blank(self, shape: tuple[int, int, int]) -> np.ndarray:
        """The fewest images that it takes, all zero: float32 [n, C, H, W]."""
        return np.zeros((self.batch or 1, *shape), np.float32)


def intake(session: ort.InferenceSession, shape: tuple[int, int, int]) -> Intake:
    """How the file takes images of `shape` (C, H, W).

    Raises `InvalidFile` where it needs anything else than float32 [n, C, H, W], or gives no floating-point scores.
    """
    needed, given = session.get_inputs(), session.get_outputs()
    if len(needed) != 1:
        names = ", ".join(repr(each.name) for each in needed[:8]) or "none"
        raise InvalidFile(f"The file must need one input, the images, not {len(needed)} ({names}).")
    (images,) = needed
    sizes = [None if not isinstance(size, int) else size for size in images.shape or [None] * 4]
    wanted = f"float32 [images, {', '.join(map(str, shape))}]"
    if images.type != "tensor(float)":
        raise InvalidFile(f"The file must take images as {wanted}; its input {images.name!r} is {_described(images)}.")
    if len(sizes) != 4 or any(size not in (None, ours) for size, ours in zip(sizes[1:], shape, strict=True)):
        raise InvalidFile(
            f"The file does not take images of {'×'.join(map(str, shape))} as {wanted}; its input {images.name!r}"
            f" is {_described(images)}{_channels_last(sizes, shape)}."
        )
    if sizes[0] is not None and not 0 < sizes[0] <= MOST:
        raise InvalidFile(f"The file takes {sizes[0]:,} images at once; 1 to {MOST:,} are measured.")
    if given[0].type not in FLOATS:
        raise InvalidFile(
            f"The file must return scores as {', '.join(FLOATS.values())}; its first output {given[0].name!r} is"
            f" {_described(given[0])}."
        )
    return Intake(images.name, given[0].name, sizes[0])


def of_channels(session: ort.InferenceSession, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape (C, H, W) with as many channels as the file says that it takes, where that is 1 or 3."""
    images = session.get_inputs()
    asked = images[0].shape if images else []
    return (asked[1], *shape[1:]) if len(asked) == 4 and asked[1] in (1, 3) else shape


MOST = 1024
"""Images at once that a file may ask for."""


def _described(value: ort.NodeArg) -> str:
    """'float16 [n, 1, 28, 28]'."""
    kind = FLOATS.get(value.type) or value.type.removeprefix("tensor(").removesuffix(")")
    return f"{kind} [{', '.join(str(size) if size is not None else '?' for size in value.shape or ())}]"


def _channels_last(sizes: list[int | None], shape: tuple[int, int, int]) -> str:
    return ", with its channels last" if sizes[1:] == [shape[1], shape[2], shape[0]] else ""


def fixed_batch(session: ort.InferenceSession) -> int | None:
    """How many images the first input takes at once, or None for any number."""
    shape = session.get_inputs()[0].shape
    return shape[0] if shape and isinstance(shape[0], int) else None


def fed(images: np.ndarray, batch: int | None) -> list[np.ndarray]:
    """`images` [n, …] as batches that a file takes which asks for `batch` at once; the last image fills up the last."""
    if batch is None or len(images) == batch:
        return [images]
    places = np.arange(-(-len(images) // batch) * batch).clip(max=len(images) - 1)
    return [images[part] for part in places.reshape(-1, batch)]


def answered(session: ort.InferenceSession, takes: Intake, images: np.ndarray, classes: int | None) -> np.ndarray:
    """The scores [n, classes] of float32 images [n, C, H, W], as float32 or float64; `classes` None is any number.

    Raises `InvalidFile` where ONNX Runtime cannot run the file on them, or it answers with something else.
    """
    scores = np.concatenate([_run(session, takes, part, classes) for part in fed(images, takes.batch)])[: len(images)]
    return scores.astype(np.float32) if scores.dtype == np.float16 else scores


def _run(session: ort.InferenceSession, takes: Intake, images: np.ndarray, classes: int | None) -> np.ndarray:
    try:
        scores = session.run([takes.scores], {takes.image: images})[0]
    except REFUSALS as error:
        size = "×".join(map(str, images.shape[1:]))
        raise InvalidFile(f"The file cannot process images of {size}: {reason(error)}.") from None
    check_scores(scores.shape, len(images), classes)
    return scores


def check_scores(shape: tuple[int, ...], images: int, classes: int | None) -> None:
    """Raises `InvalidFile` unless the shape is [images, classes]; `classes` None is any number."""
    if len(shape) != 2 or shape[0] != images or shape[1] != (classes or shape[1]):
        wanted = classes or "classes"
        raise InvalidFile(f"The file must return [images, {wanted}] scores, not {list(shape)} for {images} images.")
