"""How much memory TensorFlow Lite Micro takes for a `.tflite` file, as its own recording allocator counts it.

Its interpreter checks little and reports to standard error, so that it runs in a process with limits.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

MOST = 64 << 20
"""Bytes of the arena in which the file is run; how many of them are taken is counted."""
TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")

_report: list[int] = []
"""The end of a pipe from which what TFLM reports is read."""


def ready() -> None:
    """Leads standard error, to which TFLM reports, into a pipe."""
    end, start = os.pipe()
    os.set_blocking(start, False)
    os.dup2(start, 2)
    _report.append(end)


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The bytes that TFLM takes of its arena for one image; None where its kernels refuse the file."""
    try:
        found = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=MOST)
        about = found.get_input_details(0)
        found.set_input(np.zeros(about["shape"], about["dtype"]), 0)
        found.invoke()
        found.print_allocations()
    except RuntimeError:
        return {"arena_bytes": None}, b""
    told = TOTAL.search(os.read(_report[0], 65_536))
    return {"arena_bytes": int(told[1]) if told else None}, b""
