"""The program of the process that reads an untrusted file: see the package."""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from compression.confined.limits import OUT_OF_MEMORY, Limits, confine
from compression.errors import UserError
from compression.host.process_memory import importing

PLACE = "/dev/fd/0"
"""The path of the file in this process, which inherits it open as its standard input."""


def main(arguments: str) -> None:
    """Imports the reader, confines the process, reads, and writes the answer to the pipe that was standard output."""
    given = json.loads(arguments)
    pipe = os.dup(1)
    os.dup2(2, 1)  # what libraries print stays out of the answer
    with importing():
        reader = import_module(given["reader"])
        reader.ready()
    tempfile.tempdir = "/"  # which a library may ask for, and cannot write to
    sys.excepthook = lambda kind, error, trace: _answer(pipe, {"failed": [kind.__name__, str(error)[:200]]})
    confine(Limits(**given["limits"]))
    try:
        data, content = reader.read(Path(PLACE), **given["about"]) or ({}, b"")
    except UserError as error:
        _answer(pipe, {"refused": str(error), "error": type(error).__name__})
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    else:
        _answer(pipe, {"data": data}, content)
    os._exit(0)  # without finalizers, which the file might have influenced


def _answer(pipe: int, header: dict[str, Any], content: bytes = b"") -> None:
    """Writes a line of JSON and, behind it, `content`."""
    with os.fdopen(os.dup(pipe), "wb", buffering=0) as stream:
        for part in (json.dumps(header).encode() + b"\n", content):
            left = memoryview(part)
            while left:
                left = left[stream.write(left) :]
