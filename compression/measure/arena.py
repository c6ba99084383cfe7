"""How much memory TensorFlow Lite Micro takes for a `.tflite` file, as its own recording allocator counts it.

Its interpreter checks little and reports to standard error, so that it runs in a process with limits.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from compression.measure.tflite_outline import check_magic

MOST = 64 << 20
"""Bytes of the arena in which the file is run; how many of them are taken is counted."""
TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")
REASONS = (
    (re.compile(rb"Didn't find op for builtin opcode '([A-Z0-9_]{1,60})'"), "it has no kernel for {}"),
    (re.compile(rb"Failed to get registration from op code ([A-Z0-9_]{1,60})"), "it has no kernel for {}"),
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


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The bytes that TFLM takes of its arena for one image, or None and why its kernels refuse the file."""
    content = path.read_bytes()
    check_magic(content)
    try:
        found = runtime.Interpreter.from_bytes(content, arena_size=MOST)
        about = found.get_input_details(0)
        found.set_input(np.zeros(about["shape"], about["dtype"]), 0)
        found.invoke()
        found.print_allocations()
    except (RuntimeError, ValueError):
        return {"arena_bytes": None, "reason": _reason(_told())}, b""
    total = TOTAL.search(_told())
    return {"arena_bytes": int(total[1]) if total else None, "reason": ""}, b""


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
