"""How much memory TensorFlow Lite Micro takes for a `.tflite` file, as its own recording allocator counts it.

Its interpreter checks little and reports to standard error, so that it runs in a process with limits.
"""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from compression.measure.tflite_outline import check_magic
from compression.network.decisions import classes

MOST = 64 << 20
"""Bytes of the arena in which the file is run; how many of them are taken is counted."""
SECONDS = 4.0
"""Seconds for answering images."""
TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")
REASONS = (
    (re.compile(rb"Didn't find op for builtin opcode '([A-Z0-9_]{1,60})'"), "it has no kernel for {}"),
    (re.compile(rb"Failed to get registration from op code ([A-Z0-9_]{1,60})"), "it has no kernel for {}"),
    (re.compile(rb"[Ff]ailed to (?:resize|allocate)[^\n]{0,60}Requested: \d+"), f"it takes more than {MOST >> 20} MiB"),
    (re.compile(rb"Node ([A-Z0-9_]{1,60}) \(number \d+\w*\) failed to (?:prepare|invoke)"), "its kernel {} refuses it"),
)
"""What TFLM reports, and what that means."""

_report: list[int] = []
"""The end of a pipe from which what TFLM reports is read."""


def ready() -> None:
    """Leads standard error, to which TFLM reports, into a pipe."""
    end, start = os.pipe()
    os.set_blocking(end, False)
    os.set_blocking(start, False)
    os.dup2(start, 2)
    _report.append(end)


def read(
    path: Path,
    *,
    model_bytes: int,
    images: int = 0,
    shape: Sequence[int] = (),
    dtype: str = "int8",
) -> tuple[dict[str, Any], bytes]:
    """The bytes that TFLM takes of its arena for a run, or None and why its kernels refuse the file.

    The file at `path` holds the model's bytes and `images` inputs of `shape`. Those that are answered within `SECONDS`
    get their class, int32, and their number is told.
    """
    whole = path.read_bytes()
    content, rest = whole[:model_bytes], whole[model_bytes:]
    check_magic(content)
    inputs = np.frombuffer(rest, dtype).reshape(images, *shape) if images else np.zeros((0, 1), np.int8)
    try:
        found = runtime.Interpreter.from_bytes(content, arena_size=MOST)
        about = found.get_input_details(0)
        found.set_input(np.zeros(about["shape"], about["dtype"]), 0)
        found.invoke()
        named = _answers(found, inputs)
        found.print_allocations()
    except (RuntimeError, ValueError):
        return {"arena_bytes": None, "reason": _reason(_told())}, b""
    total = TOTAL.search(_told())
    reason = "" if total else "it does not tell how much it takes"
    return {"arena_bytes": int(total[1]) if total else None, "reason": reason}, named.tobytes()


def _answers(found: runtime.Interpreter, inputs: np.ndarray) -> np.ndarray:
    """The class of each image that is answered in time: int32."""
    parts, late = [np.zeros(0, np.int32)], time.perf_counter() + SECONDS
    for image in inputs:
        if time.perf_counter() > late:
            break
        found.set_input(image, 0)
        found.invoke()
        parts.append(classes(found.get_output(0).astype(np.float32)).astype(np.int32))
    return np.concatenate(parts)


def _told() -> bytes:
    try:
        return os.read(_report[0], 65_536)
    except BlockingIOError:
        return b""


def _reason(told: bytes) -> str:
    for pattern, meaning in REASONS:
        if found := pattern.search(told):
            return meaning.format(*(group.decode() for group in found.groups()))
    return "its kernels refuse it"
