"""One lock for the whole machine: what is timed runs alone, whoever started it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

LOCK_FILE = Path(tempfile.gettempdir()) / "compression-lab.lock"


@contextmanager
def machine_lock() -> Iterator[None]:
    """Held while milliseconds are measured; blocks until nobody else holds it."""
    with FileLock(LOCK_FILE, mode=0o666):
        yield
