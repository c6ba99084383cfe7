"""How much memory TensorFlow Lite Micro needs for a `.tflite` file: the least arena in which it answers an image.

Its interpreter checks little and reports to standard error, so that it runs in a process with limits.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

MOST = 64 << 20
"""Bytes of the largest arena that is tried."""
GRAIN = 16
"""Bytes to which TFLM aligns, and to which the arena is found."""


def ready() -> None:
    """Nothing has to be opened before the limits begin."""


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The least arena in bytes, by halving, as `arena_bytes`; None where the kernels refuse the file at `MOST`."""
    content = path.read_bytes()
    low, high = 0, MOST // GRAIN
    if not _answers(content, MOST):
        return {"arena_bytes": None}, b""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _answers(content, middle * GRAIN) else (middle, high)
    return {"arena_bytes": high * GRAIN}, b""


def _answers(content: bytes, arena_bytes: int) -> bool:
    try:
        found = runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)
        about = found.get_input_details(0)
        found.set_input(np.zeros(about["shape"], about["dtype"]), 0)
        found.invoke()
    except RuntimeError:
        return False
    return True
