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
def whole(path: Path) -> Iterator[Path]:
    """A place to write what becomes `path` when the block ends; one that fails leaves nothing. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Removes what programs have left that were killed while they wrote."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()
