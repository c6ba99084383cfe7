"""What runs in the process that reads a stranger's file: see the package."""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from compression.confined.limits import OUT_OF_MEMORY, Limits, confine
from compression.errors import UserError

PLACE = "/dev/fd/0"
"""The file as this process sees it: open already, and named nowhere."""


def main(arguments: str) -> None:
    """Loads the reader, gives up every right it does not need, reads, and answers on the pipe it was started with."""
    told = json.loads(arguments)
    pipe = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    reader = import_module(told["reader"])
    reader.ready()
    tempfile.tempdir = "/"  # which a library may ask for, and cannot write to
    sys.excepthook = lambda kind, error, trace: _told(pipe, f"{PLACE} cannot be read: {kind.__name__} in its reader.")
    confine(Limits(**told["limits"]))
    try:
        reader.read(Path(PLACE), **told["about"])
    except UserError as error:
        _told(pipe, str(error), type(error).__name__)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    else:
        _told(pipe, None)
    os._exit(0)  # no clearing up, in which what was read might have a word


def _told(pipe: int, refused: str | None, error: str = "InvalidFile") -> None:
    os.write(pipe, json.dumps({"refused": refused, "error": error}).encode())
