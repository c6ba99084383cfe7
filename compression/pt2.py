"""Networks saved by `torch.export.save`, read without ever unpickling what a stranger wrote.

`torch.export.load` unpickles some entries of an archive. Every entry is looked at first: only raw tensors, JSON and
sample inputs that `torch.load(weights_only=True)` accepts are let through.
"""

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import ExportedProgram

from compression.errors import InvalidFile

PLAIN = ("weight_", "constant_", "tensor_")
"""Beginnings of the names of raw tensors."""


def load_pt2(path: str | Path) -> ExportedProgram:
    """The network in a `.pt2` file. Raises `InvalidFile` for anything else, and for one that would run code to load."""
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(f"There is no file {str(path)!r}.")
    try:
        _check_entries(path)
        with _quiet():
            return torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidFile(f"{str(path)!r} is not a network saved by torch.export.save: {reason}.") from None


def _check_entries(path: Path) -> None:
    """Raises `InvalidFile` where loading would unpickle anything but plain tensors."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            inside, leaf = name.partition("/")[2], name.rpartition("/")[2]
            if leaf.endswith("_config.json"):
                config = json.loads(archive.read(name))["config"].values()
                plain = all(not e["use_pickle"] and e["path_name"].startswith(PLAIN) for e in config)
            elif inside.startswith("data/sample_inputs/"):
                plain = _is_weights_only(archive.read(name))
            else:
                plain = leaf.startswith(PLAIN) or (not leaf.endswith((".pt", ".so", ".pkl")) and "obj" not in leaf)
            if not plain:
                raise InvalidFile(f"{str(path)!r} holds {inside!r}, which would run code to load; save plain tensors.")


def _is_weights_only(content: bytes) -> bool:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs a traceback before it raises; the sentence says it already."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
