"""Images in ImageFolder layout: FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE, all of one size.

As torchvision's ImageFolder reads them: subfolders of a class too, links followed, in the order of their paths. Unlike
there, what is hidden (.name) is no image, and what would be left out or hang there is refused with a sentence: links to
nothing, links in circles, folders that cannot be read, and what is no file.
"""

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compression.data.cache import Decoded
from compression.errors import InvalidData

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
"""What a file may hold, whatever its name says. Pillow would start other programs for some of its other formats."""

GREY = ("1", "L", "LA", "La")
"""Pillow's modes of pictures without colours."""

MIN_SIDE, MAX_SIDE = 8, 512  # pixels
MAX_BYTES = 2 << 30  # of decoded pixels, all channels
MAX_FILE_BYTES = 8 << 20  # four times an uncompressed image of MAX_SIDE with 16-bit channels
MAX_ENTRIES = 1_000_000  # files and folders below one part; links can make few look like endlessly many
_CHUNK = 256  # images that one thread decodes in a row
_READING = b"2"  # counts up when the same files are read as other pixels

Listing = dict[str, dict[str, list[str]]]  # part → class → paths of images

_UNREADABLE = (
    OSError, SyntaxError, ValueError, LookupError, ArithmeticError, EOFError, MemoryError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are damaged, or meant to be."""


def list_images(folder: Path) -> Listing:
    """The images of both parts by class, in the order of their paths; classes in that of their names.

    Raises InvalidData where the layout is another one, or something in it cannot be read.
    """
    try:
        return _list_images(folder)
    except OSError as error:
        raise InvalidData(f"{named(error.filename or folder)} cannot be read: {error.strerror}.") from None


def _list_images(folder: Path) -> Listing:
    if not folder.is_dir():
        raise InvalidData(
            f"{named(folder)} is not a folder; a dataset needs one with train/CLASS/IMAGE and test/CLASS/IMAGE."
        )
    listing = {part: _classes_in(folder / part) for part in ("train", "test")}
    for one, other in (("train", "test"), ("test", "train")):
        if missing := sorted(set(listing[one]) - set(listing[other])):
            raise InvalidData(
                f"Class {named(missing[0])!r} is in {one}/ but not in {other}/; both need the same classes."
            )
    _require_enough(folder, listing)
    return listing


def _classes_in(part: Path) -> dict[str, list[str]]:
    if not part.is_dir():
        raise InvalidData(
            f"{named(part)} is missing; a dataset needs the folders train and test, each with one folder a class."
        )
    found = {entry.name: _images_in(entry.path) for entry in _entries(str(part)) if entry.is_dir()}
    if (total := sum(map(len, found.values()))) > MAX_ENTRIES:
        raise InvalidData(f"{named(part)} holds {total:,} images; at most {MAX_ENTRIES:,} are allowed.")
    return dict(sorted(found.items()))


def _images_in(folder: str) -> list[str]:
    """The images in a class's folder and below, folder by folder."""
    by_folder, pending, seen = dict[str, list[str]](), [(folder, frozenset[tuple[int, int]]())], 0
    while pending:
        path, above = pending.pop()
        status = os.stat(path)
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise InvalidData(f"{named(path)} is a link that leads back to a folder above it.")
        by_folder[path] = []
        for entry in _entries(path):
            if (seen := seen + 1) > MAX_ENTRIES:
                raise InvalidData(f"{named(folder)} holds more than {MAX_ENTRIES:,} files and folders.")
            if entry.is_dir():
                pending.append((entry.path, above | {here}))
            elif entry.name.lower().endswith(SUFFIXES):
                by_folder[path].append(entry.path)
    return [image for _, images in sorted(by_folder.items()) for image in sorted(images)]


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder and is not hidden. Raises InvalidData for links to nothing."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                raise InvalidData(f"{named(entry.path)} is a link to something that is not there.")
            yield entry


def named(path: str | Path) -> str:
    """A path or name as it is written in sentences and kept: bytes that are not UTF-8 as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _require_enough(folder: Path, listing: Listing) -> None:
    if len(listing["train"]) < 2:
        raise InvalidData(f"{named(folder / 'train')} has {len(listing['train'])} classes; at least 2 are needed.")
    for part, least in (("train", 2), ("test", 1)):
        for name, images in listing[part].items():
            if len(images) < least:
                known = ", ".join(SUFFIXES)
                raise InvalidData(
                    f"{named(folder / part / name)} holds {len(images)} images ({known}); at least {least} needed."
                )


def fingerprint(listing: Listing) -> str:
    """Changes when an image is added, removed, renamed or written anew; reads no pixels.

    Raises InvalidData where one is no file, or gone.
    """
    digest = hashlib.sha256(_READING)
    for path in _flat(listing):
        try:
            status = os.stat(path)
        except OSError as error:
            raise InvalidData(f"{named(path)} cannot be read: {error.strerror}.") from None
        _require_file(path, status)
        digest.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:24]


def _require_file(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidData(f"{named(path)} has an image's name but is no file.")
    if status.st_size > MAX_FILE_BYTES:
        raise InvalidData(
            f"{named(path)} takes {status.st_size / 2**20:,.1f} MiB; a file of at most {MAX_FILE_BYTES >> 20} MiB is "
            "allowed for an image."
        )


def decode(folder: Path, listing: Listing) -> Decoded:
    """All images as bytes, one channel if every one is greyscale. Raises InvalidData naming the first that is unfit."""
    paths = list(_flat(listing))
    arrays = _decode_all(paths)
    channels = 1 if all(array.ndim == 2 for array in arrays) else 3
    images = torch.from_numpy(np.stack([_channels_first(array, channels) for array in arrays]))  # [n, C, H, W]
    labels = torch.tensor(
        [label for part in listing.values() for label, files in enumerate(part.values()) for _ in files]
    )  # [n]
    n, classes = sum(map(len, listing["train"].values())), tuple(map(named, listing["train"]))
    source = f"{len(paths):,} images from the folder {named(folder)}."
    return Decoded(images[:n], labels[:n], images[n:], labels[n:], classes=classes, source=source)


def _flat(listing: Listing) -> Iterator[str]:
    return (path for part in listing.values() for files in part.values() for path in files)


def _decode_all(paths: list[str]) -> list[np.ndarray]:
    with _opened(paths[0]) as image:
        size = image.size
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise InvalidData(
            f"{named(paths[0])} is {size[0]}×{size[1]} pixels; sides from {MIN_SIDE} to {MAX_SIDE} pixels are allowed."
        )
    if (total := len(paths) * size[0] * size[1] * 3) > MAX_BYTES:
        raise InvalidData(
            f"The images take {total / 2**30:.1f} GiB once decoded; at most {MAX_BYTES >> 30} GiB are allowed."
        )
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8))
    try:
        decoded = pool.map(lambda chunk: [_decode_one(path, size, paths[0]) for path in chunk], chunks)
        return [array for chunk in decoded for array in chunk]
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The image in a file, of which only the head is read. Raises InvalidData, also for what is done with it inside."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            _require_file(path, os.fstat(file.fileno()))
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except _UNREADABLE as error:
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise InvalidData(f"{named(path)} cannot be read as an image{why}.") from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file without blocking: it may have become a pipe since it was listed."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _decode_one(path: str, size: tuple[int, int], first: str) -> np.ndarray:
    """uint8 [H, W] of a greyscale image, [H, W, 3] of any other."""
    with _opened(path) as image:
        if image.size != size:
            raise InvalidData(
                f"{named(path)} is {image.width}×{image.height} pixels, but {named(first)} is {size[0]}×{size[1]};"
                " all images must be of one size."
            )
        if image.mode.startswith(("I", "F")):
            raise InvalidData(
                f"{named(path)} has more than 8 bits a pixel (mode {image.mode}); 8-bit images are needed."
            )
        return np.asarray(image.convert("L" if image.mode in GREY else "RGB"))


def _channels_first(array: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] → [channels, H, W]; greyscale among colours is repeated."""
    if array.ndim == 2:
        return np.broadcast_to(array, (channels, *array.shape))
    return array.transpose(2, 0, 1)
