"""How much of the disk decoded pictures may take.

Beyond the limit, what was not used for longest is removed: it is decoded anew when it is asked for. What a user gave,
and datasets that were downloaded, are never removed.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compression.errors import InvalidSetting
from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder

ENDING = ".pixels"
DEFAULT_LIMIT = 32 << 30  # bytes
KEEP_FREE = 1 << 30
"""Bytes that the disk keeps free."""

LEAST_LIMIT, MOST_LIMIT = 1 << 30, 1 << 50


@dataclass(frozen=True)
class Usage:
    """Bytes and files of decoded pictures, and the limit in bytes."""

    size_bytes: int
    files: int
    limit_bytes: int


def folder() -> Path:
    """Where decoded pictures are kept."""
    return user_folder() / "datasets" / "cache"


def usage() -> Usage:
    """What decoded pictures take now."""
    sizes = [size for _, size, _ in _files()]
    return Usage(sum(sizes), len(sizes), limit())


def limit() -> int:
    """The limit in bytes; `DEFAULT_LIMIT` where none can be read."""
    try:
        with _limit_file().open("rb") as file:
            found = json.loads(file.read(1_000))
    except (OSError, ValueError, RecursionError):
        return DEFAULT_LIMIT
    return found if type(found) is int and LEAST_LIMIT <= found <= MOST_LIMIT else DEFAULT_LIMIT


def set_limit(size_bytes: int) -> Usage:
    """Keeps another limit, and removes what is beyond it. Raises InvalidSetting."""
    if not LEAST_LIMIT <= size_bytes <= MOST_LIMIT:
        raise InvalidSetting(
            f"The limit of the image cache is {size_bytes / 2**30:g} GiB; {LEAST_LIMIT >> 30} to {MOST_LIMIT >> 30:,} "
            "are allowed."
        )
    try:
        with atomic_write(_limit_file()) as partial:
            partial.write_text(json.dumps(size_bytes))
    except OSError as error:
        raise InvalidSetting(f"The limit cannot be kept in {_limit_file()}: {error.strerror}.") from None
    clean(size_bytes)
    return usage()


def clean(most: int = 0, *, keep: Path | None = None) -> int:
    """Removes what was not used for longest until `most` bytes are left, by default all; not `keep`.

    Returns the bytes removed. Who has a file open goes on reading it.
    """
    files = sorted(_files())
    total, removed = sum(size for _, size, _ in files), 0
    for _, size, path in files:
        if total - removed <= most:
            break
        if path != keep:
            with suppress(OSError):
                path.unlink()
                removed += size
    return removed


def _files() -> list[tuple[float, int, Path]]:
    """(last used, bytes, path)"""
    found = []
    for path in folder().glob(f"*{ENDING}"):
        with suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return found


def _limit_file() -> Path:
    return user_folder() / "datasets" / "cache-limit.json"
