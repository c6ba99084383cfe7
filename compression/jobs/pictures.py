"""What a page does with pictures that somebody hands over: unpacked, kept; and what decoded ones take.

All of it runs where the browser's upload lies, in the page's process:

    found = jobs.unpack_pictures(upload, "photos.zip", progress=show, stop=cancelled)
"""

import os
from collections.abc import Callable, Iterable
from typing import IO

from compression.data.archives import Extracted, extract, keep_pictures
from compression.data.cache_limit import Usage, clean, set_limit, usage
from compression.jobs import permits
from compression.jobs.messages import Refusal
from compression.jobs.worker import refusal_on_error
from compression.team import Act, require

PictureUsage = Usage


def unpack_pictures(
    file: IO[bytes],
    name: str,
    *,
    progress: Callable[[str, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extracted | Refusal:
    """An uploaded archive as a folder of the user's; see `data.archives.extract`. Stopped, the refusal is empty."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return refusal_on_error(lambda: _kept(size, lambda: extract(file, name, progress=progress, stop=stop)))


def keep_uploaded(pictures: Iterable[tuple[str, bytes]]) -> Extracted | Refusal:
    """Single pictures, (name, content), as a folder of the user's."""
    held = list(pictures)
    size = sum(len(content) for _, content in held)
    return refusal_on_error(lambda: _kept(size, lambda: keep_pictures(held)))


def _kept(size: int, keep: Callable[[], Extracted]) -> Extracted:
    """Counts an upload before it is kept, and afterwards the bytes that it takes. Raises `NotAllowed` first."""
    member, took = permits.check_upload(size), 0
    try:
        found = keep()
        took = sum(path.stat().st_size for path in found.folder.rglob("*") if path.is_file()) if member.name else 0
        return found
    finally:
        permits.count_bytes(member, took - size)


def picture_usage() -> PictureUsage:
    """What decoded pictures take on disk, and how much they may."""
    return usage()


def limit_pictures(size_bytes: int) -> PictureUsage | Refusal:
    """Another limit, which is kept."""

    def limited() -> PictureUsage:
        require(Act.ADMINISTER)
        return set_limit(size_bytes)

    return refusal_on_error(limited)


def clear_pictures() -> int:
    """Removes all decoded pictures; returns bytes. They are decoded anew when they are asked for.

    Raises `NotAllowed`.
    """
    require(Act.ADMINISTER)
    return clean()
