"""What LiteRT and TensorFlow Lite Micro make of a `.tflite` file, asked in processes with limits.

Whoever made the file: both are native code that trusts its tables, and neither can do harm there.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from compression import confined
from compression.confined import Ending
from compression.confined.limits import OUT_OF_MEMORY, Limits
from compression.data import Dataset
from compression.errors import Cancelled, InvalidFile
from compression.host.interruption import look
from compression.host.machine_lock import machine_lock
from compression.measure.accuracy import normalized_values
from compression.measure.admission import opened
from compression.measure.tflite_images import MOST_CLASSES, Takes, fed
from compression.network.decisions import NONE
from compression.records.measurement import Predictions
from compression.records.tflite import Arena, Times

COUNTS_ARENAS = find_spec("tflite_micro") is not None
"""Packages of TensorFlow Lite Micro exist for Linux on x86-64."""

SECONDS, MEMORY, WAIT = 20, 2 << 30, 120
"""CPU seconds and bytes of memory for loading a file and answering its first images; seconds by the clock."""
FIRST = 32
"""Images that are answered with the timing."""
TFLM_IMAGES = 100
"""Images that TFLM answers too, as far as its seconds reach."""
PART_S, PART_BYTES = 15.0, 128 << 20
"""Images go to LiteRT in parts that are answered in about so many seconds, and have at most so many bytes."""


@dataclass(frozen=True)
class About:
    """What a file takes and gives: images of `channels`, `batch` at once, in `type`; scores of `classes`.

    `score_type` is that of the scores. `kernels` are TFLite's names of its operators, with how many there are of each;
    a grid is scale and zero-point of codes, (0, 0) of floats.
    """

    channels: int
    classes: int
    batch: int
    type: str
    score_type: str
    kernels: dict[str, int]
    channels_last: bool
    image_grid: tuple[float, int]
    score_grid: tuple[float, int]


def about(content: bytes, shape: tuple[int, int, int]) -> About:
    """What the file takes, for images of `shape` (C, H, W). Raises `InvalidFile` where LiteRT does not load it."""
    told, _ = _asked(content, {"task": "about", "shape": list(shape)}, [], SECONDS)
    kernels = told.get("kernels")
    if not isinstance(kernels, dict):
        raise InvalidFile(refusal(Ending(0)))
    return About(
        channels=_number(told, "channels"), classes=_number(told, "classes"), batch=_number(told, "batch"),
        type=_type(told, "type"), score_type=_type(told, "score_type"),
        kernels={str(name): n for name, n in kernels.items() if isinstance(n, int)},
        channels_last=told.get("channels_last") is True, image_grid=_grid(told, "image_grid"),
        score_grid=_grid(told, "score_grid"),
    )  # fmt: skip


def _type(told: dict[str, Any], name: str) -> str:
    kind = told.get(name)
    if kind not in ("float32", "int8", "uint8") and (name, kind) != ("score_type", "int16"):
        raise InvalidFile(refusal(Ending(0)))
    return str(kind)


def _number(told: dict[str, Any], name: str) -> int:
    found = told.get(name)
    if not isinstance(found, int) or not 1 <= found <= MOST_CLASSES:
        raise InvalidFile(refusal(Ending(0)))
    return found


def _grid(told: dict[str, Any], name: str) -> tuple[float, int]:
    match told.get(name):
        case [int() | float() as scale, int(zero)] if 0 <= scale < np.inf and -(2**31) <= zero < 2**31:
            return float(scale), zero
    raise InvalidFile(refusal(Ending(0)))


def predict(
    content: bytes, data: Dataset, images: np.ndarray, classes: int, stop: Callable[[], bool] | None = None
) -> tuple[Predictions, Times]:
    """Class and confidence of the test images at the indices `images` [n], and the milliseconds of a run.

    Raises `InvalidFile` where the file does not answer them with finite scores of `classes`, and `Cancelled`.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with machine_lock():
        told, first = _answers(content, data, images[:FIRST], classes, SECONDS, timed=True)
    parts.append(first)
    times = _times(told)
    pixels = int(np.prod(data.input_shape))
    each, seconds = (
        max(1, min(int(1e3 * PART_S / times.p50_ms) * times.batch, PART_BYTES // pixels)),
        4 * int(PART_S) + SECONDS,
    )
    for start in range(FIRST, len(images), each):
        look()
        if stop and stop():
            raise Cancelled("The measurement was stopped.")
        parts.append(_answers(content, data, images[start : start + each], classes, seconds)[1])
    named, confidences = (np.concatenate(found) for found in zip(*parts, strict=True))
    if missing := int((named == NONE).sum()):
        raise InvalidFile(
            f"The file answers {missing:,} of {len(named):,} test images with NaN or infinite scores, which name no"
            " class; every image needs finite scores."
        )
    return Predictions(images, named.astype(np.uint16), confidences), times


def arena(
    content: bytes, about: About | None = None, data: Dataset | None = None, found: Predictions | None = None
) -> Arena:
    """What TFLM takes of its arena for one run, or why it does not run the file.

    With what LiteRT has `found` on `data`'s images it answers the first of them too.
    """
    if not COUNTS_ARENAS:
        return Arena(None, "it is not installed")
    inputs = (
        np.zeros((0, 1), np.int8) if about is None or data is None or found is None else _inputs(about, data, found)
    )
    limits = Limits(SECONDS, WAIT, MEMORY + 4 * len(content))
    task = {
        "model_bytes": len(content),
        "images": len(inputs),
        "shape": list(inputs.shape[1:]),
        "dtype": str(inputs.dtype),
    }
    try:
        with opened(content + inputs.tobytes()) as file:
            told, answers = confined.read("arena", file, limits, task, lambda ending: "it breaks down on the file")
    except InvalidFile as error:
        return Arena(None, str(error).rstrip("."))
    size, reason = told.get("arena_bytes"), told.get("reason")
    if type(size) is not int or size < 1:
        return Arena(None, reason[:200] if isinstance(reason, str) and reason else "its kernels refuse it")
    named = np.frombuffer(answers[: len(answers) // 4 * 4], np.int32)
    if found is None or not 0 < len(named) <= len(inputs):
        return Arena(size)
    return Arena(size, "", len(named), float(np.mean(named == found.classes[: len(named)])))


def _inputs(about: About, data: Dataset, found: Predictions) -> np.ndarray:
    """The first images as the file takes them, one at a time: none where it takes several at once."""
    count = min(TFLM_IMAGES, len(found)) if about.batch == 1 else 0
    takes = Takes(0, 1, about.channels, about.channels_last, np.dtype(about.type).type, about.image_grid)
    pixels, table = data.test.images[found.images[:count]].numpy(), normalized_values(data)
    shape = (0, 1) if count == 0 else (count, *fed(takes, pixels[:1], table).shape)
    return np.array([fed(takes, pixels[i : i + 1], table) for i in range(count)], takes.dtype).reshape(shape)


def refusal(ending: Ending, seconds: int = SECONDS) -> str:
    """The sentence about a file on which LiteRT did not answer within so many `seconds` of the processor."""
    code = ending.status
    if ending.failed:
        return f"The .tflite file cannot be read: {': '.join(filter(None, ending.failed))}."
    if code is None or code == -signal.SIGALRM:
        return f"LiteRT did not answer about the .tflite file within {max(WAIT, 4 * seconds)} seconds."
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"The .tflite file takes more than {seconds} seconds of computing to load and answer images."
    if code == OUT_OF_MEMORY:
        return f"The .tflite file takes more than {MEMORY >> 30} GiB of memory to load."
    if code < 0:
        return f"LiteRT breaks down on the .tflite file ({signal.Signals(-code).name})."
    return "The .tflite file cannot be read: no reason given."


def _asked(content: bytes, task: dict[str, Any], rest: Sequence[bytes], seconds: int) -> tuple[dict[str, Any], bytes]:
    behind = b"".join(rest)
    memory = MEMORY + 4 * (len(content) + len(behind))
    limits = Limits(seconds, max(WAIT, 4 * seconds), memory, answer_bytes=100_000 + 6 * int(task.get("images", 0)))
    with opened(content + behind) as file:
        return confined.read(
            "litert", file, limits, {"model_bytes": len(content), **task}, partial(refusal, seconds=seconds)
        )


def _answers(
    content: bytes, data: Dataset, images: np.ndarray, classes: int, seconds: int, timed: bool = False
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """What was told beside, and classes [n] int32 with confidences [n] float16."""
    task = {"task": "answers", "shape": list(data.input_shape), "images": len(images), "timed": timed}
    table = normalized_values(data)
    pixels = data.test.pixels(images).numpy()
    told, found = _asked(content, task, [table.tobytes(), pixels.tobytes()], seconds)
    n = len(images)
    if len(found) != 6 * n:
        raise InvalidFile(refusal(Ending(0)))
    named, confidences = np.frombuffer(found[: 4 * n], np.int32), np.frombuffer(found[4 * n :], np.float16)
    if ((named < NONE) | (named >= classes)).any() or not np.isfinite(confidences).all():
        raise InvalidFile(refusal(Ending(0)))
    return told, (named, confidences)


def _times(told: dict[str, Any]) -> Times:
    p50, p95 = told.get("p50_ms"), told.get("p95_ms")
    if not (isinstance(p50, float) and isinstance(p95, float) and 0 < p50 <= p95 < 1e9):
        raise InvalidFile(refusal(Ending(0)))
    return Times(p50, p95, _number(told, "batch"))
