"""A `.tflite` file in LiteRT: what it takes, its answers and its milliseconds, in a process with limits.

LiteRT is native code that trusts a file's tables in many places. No torch in here: the process must start quickly.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from compression.errors import InvalidFile
from compression.measure.tflite_images import MOST_CLASSES, Takes, fed
from compression.measure.tflite_outline import check_magic, kernels
from compression.network.decisions import NONE, classes

WARM_UP, WARM_UP_S = 10, 0.2
RUNS, SECONDS = 400, 0.5
LEAST = 5
"""Runs that are timed even where they take longer than `SECONDS`."""
T = TypeVar("T")
TYPES = (np.float32, np.int8, np.uint8)
SCORE_TYPES = (*TYPES, np.int16)
MOST_AT_ONCE = 1024


class File(NamedTuple):
    """An open file: its interpreter, how images go in, and the index, classes, type and grid of what it gives."""

    interpreter: Interpreter
    takes: Takes
    scores: int
    classes: int
    type: str
    grid: tuple[float, int]


def ready() -> None:
    """All is imported."""


def read(
    path: Path, *, task: str, model_bytes: int, shape: list[int], images: int = 0, timed: bool = False
) -> tuple[dict[str, Any], bytes]:
    """`task` "about" tells what the file takes for images of `shape` (C, H, W); "answers" answers `images` of them.

    The file at `path` holds the model's bytes and, for answers, float32 [C, 256], what each value of a pixel is
    normalized to, and the pixels, uint8 [images, C, H, W]. Answers are int32 [images] classes followed by float16
    [images] confidences; with `timed`, milliseconds of an image too. Raises `InvalidFile`.
    """
    whole = path.read_bytes()
    content, rest = whole[:model_bytes], whole[model_bytes:]
    check_magic(content)
    file = _asked("load the file", lambda: _opened(content, (shape[0], shape[1], shape[2])))
    if task == "about":
        about = {"channels": file.takes.channels, "classes": file.classes, "batch": file.takes.batch}
        about |= {"channels_last": file.takes.channels_last}
        about |= {"image_grid": file.takes.grid, "score_grid": file.grid}  # type: ignore[dict-item]
        types = {"type": np.dtype(file.takes.dtype).name, "score_type": file.type}
        return about | types | {"kernels": kernels(content)}, b""
    table = np.frombuffer(rest[: 1024 * shape[0]], np.float32).reshape(shape[0], 256)
    pixels = np.frombuffer(rest[1024 * shape[0] :], np.uint8).reshape(images, *shape)
    times = _asked("answer an image", lambda: _timed(file, fed(file.takes, pixels[:1], table))) if timed else None
    named, confidences = _asked("answer the images", lambda: _answers(file, pixels, table))
    if times is None:
        told: dict[str, Any] = {}
    else:
        told = {"p50_ms": float(np.median(times)), "p95_ms": float(np.quantile(times, 0.95)), "batch": file.takes.batch}
    return told, named.tobytes() + confidences.tobytes()


def _asked(what: str, ask: Callable[[], T]) -> T:
    """What LiteRT returns, or its refusal as a sentence."""
    try:
        return ask()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise InvalidFile(f"LiteRT cannot {what}: {reason[0].rstrip('.')[:300]}.") from None


def _opened(content: bytes, shape: tuple[int, int, int]) -> File:
    found = Interpreter(model_content=content, num_threads=1)
    found.allocate_tensors()
    takes = _takes(found.get_input_details(), shape)
    gives = found.get_output_details()
    if not gives or gives[0]["dtype"] not in SCORE_TYPES:
        raise InvalidFile("The file must give scores as float32, int8, int16 or uint8.")
    scores = tuple(map(int, gives[0]["shape"]))
    if len(scores) != 2 or scores[0] != takes.batch or not 2 <= scores[1] <= MOST_CLASSES:
        raise InvalidFile(f"The file must give [{takes.batch}, classes] scores, not {list(scores)[:8]}.")
    return File(found, takes, gives[0]["index"], scores[1], np.dtype(gives[0]["dtype"]).name, _grid(gives[0]))


def _takes(needed: list[dict[str, Any]], shape: tuple[int, int, int]) -> Takes:
    if len(needed) != 1:
        raise InvalidFile(f"The file must need one input, the images, not {len(needed)}.")
    about, (_, height, width) = needed[0], shape
    sizes = tuple(map(int, about["shape"]))
    channels_last = len(sizes) == 4 and sizes[1:3] == (height, width)
    channels = sizes[-1] if channels_last else sizes[1] if len(sizes) == 4 and sizes[2:] == (height, width) else 0
    if channels not in (1, 3) or not 0 < sizes[0] <= MOST_AT_ONCE:
        raise InvalidFile(
            f"The file does not take images of {height}×{width}, as [n, {height}, {width}, 1 or 3] or "
            f"[n, 1 or 3, {height}, {width}]; its input is {list(sizes)[:8]}."
        )
    dtype, grid = about["dtype"], _grid(about)
    if dtype not in TYPES or (dtype is not np.float32 and grid[0] <= 0):
        raise InvalidFile("The file must take images as float32, or as int8 or uint8 with a scale.")
    return Takes(about["index"], sizes[0], channels, channels_last, dtype, grid)


def _grid(about: dict[str, Any]) -> tuple[float, int]:
    """Scale and zero-point of codes; (0, 0) of floats, whatever the file says about them."""
    scale, zero = about["quantization"] if about["dtype"] is not np.float32 else (0.0, 0)
    return float(scale), int(zero)


def _run(file: File, images: np.ndarray) -> np.ndarray:
    file.interpreter.set_tensor(file.takes.tensor, images)
    file.interpreter.invoke()
    return file.interpreter.get_tensor(file.scores)


def _timed(file: File, images: np.ndarray) -> np.ndarray:
    """Milliseconds [runs] of one run: images in, scores out."""
    begin, warm_up = time.perf_counter(), 0
    while warm_up < WARM_UP and (warm_up < 1 or time.perf_counter() - begin < WARM_UP_S):
        _run(file, images)
        warm_up += 1
    times: list[float] = []
    while len(times) < RUNS and (len(times) < LEAST or sum(times) < SECONDS):
        begin = time.perf_counter()
        _run(file, images)
        times.append(time.perf_counter() - begin)
    return 1e3 * np.array(times)


def _answers(file: File, pixels: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class [n] of each image, or `NONE`, and its confidence; scores are kept for a batch at a time."""
    batch = file.takes.batch
    named, confidences = np.zeros(len(pixels), np.int32), np.zeros(len(pixels), np.float16)
    for start in range(0, len(pixels), batch):
        part = slice(start, start + batch)
        images = pixels[part]
        scores = _run(file, fed(file.takes, images, table))[: len(images)].astype(np.float32)
        scores = (scores - file.grid[1]) * file.grid[0] if file.grid[0] > 0 else scores
        named[part] = classes(scores)
        scores[named[part] == NONE] = 0.0
        confidences[part] = 1 / np.exp(scores - scores.max(1, keepdims=True)).sum(1)
    return named, confidences
