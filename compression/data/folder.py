"""Which pictures lie in a folder, as torchvision's ImageFolder finds them.

Below it too, links followed, in the order of their paths. Unlike there, what is hidden (.name) is no picture, and links
in circles and folders that cannot be read are refused with a sentence.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compression.errors import InvalidData

FOLDER_PREFIX = "folder:"
"""The name of a dataset begins so that is a folder."""

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif", ".jfif", ".avif", ".heic",
    ".heif",
)  # fmt: skip
"""Names of pictures end so. What cannot be decoded among them (.heic) is listed as skipped."""

MAX_ENTRIES = 1_000_000  # files and folders below one folder


def is_picture(name: str) -> bool:
    """Whether a file's name is a picture's."""
    return name.lower().endswith(SUFFIXES)


@dataclass
class Walk:
    """How many files and folders were met below `root`; links can make few look like endlessly many."""

    root: Path
    seen: int = 0

    def meet(self) -> None:
        """Raises InvalidData for one too many."""
        self.seen += 1
        if self.seen > MAX_ENTRIES:
            raise InvalidData(f"{named(self.root)} holds more than {MAX_ENTRIES:,} files and folders.")


def pictures_below(folder: str | Path, walk: Walk | None = None) -> list[str]:
    """Paths of the pictures in a folder and below, folder by folder. Raises InvalidData, and OSError."""
    walk = walk or Walk(Path(folder))
    by_folder, pending = dict[str, list[str]](), [(str(folder), frozenset[tuple[int, int]]())]
    while pending:
        path, above = pending.pop()
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise InvalidData(f"{named(path)} is a link that leads back to a folder above it.")
        by_folder[path] = []
        for entry in entries(path):
            walk.meet()
            if _is_folder(entry):
                pending.append((entry.path, above | {here}))
            elif is_picture(entry.name):
                by_folder[path].append(entry.path)
    return [picture for _, pictures in sorted(by_folder.items()) for picture in sorted(pictures)]


def folders_in(folder: str | Path) -> dict[str, str]:
    """Paths of the folders that lie in a folder, by name and in the order of their names."""
    return dict(sorted((entry.name, entry.path) for entry in entries(str(folder)) if _is_folder(entry)))


def pictures_in(folder: str | Path) -> list[str]:
    """Paths of the pictures that lie directly in a folder, in order."""
    return sorted(e.path for e in entries(str(folder)) if is_picture(e.name) and not _is_folder(e))


def entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder and is not hidden."""
    with os.scandir(folder) as found:
        for entry in found:
            if not entry.name.startswith("."):
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Not a link that leads nowhere or to itself."""
    try:
        return entry.is_dir()
    except OSError:
        if entry.is_symlink():
            return False
        raise


def named(path: str | Path) -> str:
    """A path or name as it is written in sentences and kept: bytes that are not UTF-8 as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
