"""Atomic writes: a reader finds the complete new content of a file or the old one, never a part."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"
STALE_S = 24 * 3600.0
"""Age in seconds beyond which a partial file was left by a process that was killed while it wrote."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path whose file replaces `path` when the block ends; a block that raises leaves nothing.

    Creates the folder. Raises `OSError` where it cannot be written to.

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
    """Removes partial files older than `STALE_S`."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()
