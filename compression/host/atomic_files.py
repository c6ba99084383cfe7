"""Files that others may read while they are written: there whole, or as they were before."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"
STALE_S = 24 * 3600.0
"""Nobody writes to a file for so long: whoever did was killed."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place to write what becomes `path` when the block ends; one that fails leaves nothing. Makes the folder.

    After a power cut `path` holds the old content or the new one: the content reaches the disk before the name does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clear(folder: Path) -> None:
    """Removes what programs have left that were killed while they wrote."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()
