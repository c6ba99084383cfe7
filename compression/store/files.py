"""Files of runs, under the SHA-256 of their content: written whole, verified when they are read.

A file that the user asked for stays until its run is erased. The files of idle measurements lie in a folder of their
own, which keeps those that were used last.
"""

import hashlib
import logging
import os
import re
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from compression.errors import StoreUnavailable
from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder
from compression.records.measurement import Measurement

log = logging.getLogger(__name__)

IDLE_FILES = 200
"""How many files of idle measurements are kept."""

HASH = re.compile("[0-9a-f]{64}")
"""What stands in the store becomes part of a path, and another program may have written it."""

FRESH_S = 24 * 3600.0
"""A file younger than this may belong to a run that is about to be written down."""


def write_file(onnx: bytes, measurement: Measurement, *, idle: bool = False) -> Path:
    """Writes the file under its hash and returns its path; a damaged one is replaced. Raises `StoreUnavailable`.

    idle: the file comes from an idle measurement, not from a request; the least recently used of these are removed.
    """
    kept = find_file(measurement.file_hash)
    path = kept or _folder(idle=idle) / f"{measurement.file_hash}.onnx"
    try:
        if kept is None or _hash(kept.read_bytes()) != _hash(onnx):
            with atomic_write(path) as partial:
                partial.write_bytes(onnx)
        if kept and not idle and kept.parent == _folder(idle=True):
            path = kept.replace(_folder() / kept.name)
    except OSError as error:
        raise StoreUnavailable(f"The file cannot be kept in {user_folder()}: {error.strerror}.") from error
    if idle:
        _make_room()
    return path


def find_file(file_hash: str) -> Path | None:
    """Where the file with this hash lies on this machine, unread; None where it does not, or where it is no hash."""
    if not HASH.fullmatch(file_hash):
        return None
    places = (_folder(idle=idle) / f"{file_hash}.onnx" for idle in (False, True))
    return next((path for path in places if path.is_file()), None)


def read_file(file_hash: str) -> bytes | None:
    """The file's content; None where there is none, or a damaged one, which is removed: it can be made again."""
    for _ in range(2):  # a file of an idle measurement moves when a user asks for it
        path = find_file(file_hash)
        if path is None:
            return None
        with suppress(FileNotFoundError):
            return _verified(path, file_hash)
    return None


def _verified(path: Path, file_hash: str) -> bytes | None:
    """The content of a file that is removed where its hash is another. Raises FileNotFoundError."""
    try:
        content = path.read_bytes()
        if _hash(content) == file_hash:
            os.utime(path)
            return content
        log.warning("%s is damaged and is removed; its recipe makes it again.", path.name)
        path.unlink()
    except FileNotFoundError:
        raise
    except OSError:
        pass
    return None


def remove_file(file_hash: str) -> None:
    """Removes the file with this hash, if it lies on this machine."""
    while (path := find_file(file_hash)) is not None:
        path.unlink(missing_ok=True)


def remove_unnamed(named: Collection[str]) -> None:
    """Removes files whose hash is not among `named`, unless they were written within a day."""
    for idle in (False, True):
        for path in _folder(idle=idle).glob("*.onnx"):
            with suppress(OSError):
                if path.stem not in named and time.time() - path.stat().st_mtime > FRESH_S:
                    path.unlink()


def _make_room() -> None:
    """Removes the files of idle measurements that were not used for the longest time."""
    found = []
    for path in _folder(idle=True).glob("*.onnx"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[IDLE_FILES:]:
        path.unlink(missing_ok=True)


def _folder(*, idle: bool = False) -> Path:
    return user_folder() / "files" / "idle" if idle else user_folder() / "files"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
