"""What a page does with pictures that somebody hands over: unpacked, kept; and what decoded ones take.

All of it runs where the browser's upload lies, in the page's process:

    found = jobs.unpack_pictures(upload, "photos.zip", progress=show, stop=cancelled)
"""

from collections.abc import Callable, Iterable
from typing import IO

from compression.data.archives import Extracted, extract, keep_pictures
from compression.data.cache_limit import Usage, clean, set_limit, usage
from compression.jobs.messages import Refusal
from compression.jobs.worker import refusal_on_error

PictureUsage = Usage


def unpack_pictures(
    file: IO[bytes],
    name: str,
    *,
    progress: Callable[[str, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extracted | Refusal:
    """An uploaded archive as a folder of the user's; see `data.archives.extract`. Stopped, the refusal is empty."""
    return refusal_on_error(lambda: extract(file, name, progress=progress, stop=stop))


def keep_uploaded(pictures: Iterable[tuple[str, bytes]]) -> Extracted | Refusal:
    """Single pictures, (name, content), as a folder of the user's."""
    return refusal_on_error(lambda: keep_pictures(pictures))


def picture_usage() -> PictureUsage:
    """What decoded pictures take on disk, and how much they may."""
    return usage()


def limit_pictures(size_bytes: int) -> PictureUsage | Refusal:
    """Another limit, which is kept."""
    return refusal_on_error(lambda: set_limit(size_bytes))


def clear_pictures() -> int:
    """Removes all decoded pictures; returns bytes. They are decoded anew when they are asked for."""
    return clean()
