"""From a picture's file to bytes for a network, pixel by pixel as Pillow and torchvision's transforms make them.

Turned as its EXIF orientation says; CMYK, palettes and transparency by Pillow's `convert`, which ignores transparency;
16 bits a pixel by their upper 8, as Pillow does for colours; the first picture of several.
"""

import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from compression.errors import InvalidData
from compression.records.preprocess import Preprocess

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF", "AVIF")
"""What a file may hold, whatever its name says. Pillow would start other programs for some of its other formats."""

GREY = ("1", "L", "LA", "La")
"""Pillow's modes of pictures without colours."""

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 200_000_000  # of a picture as it comes, and as it is resized
MAX_SCANS = 200  # of a progressive JPEG, each a pass over all of its pixels; encoders write around ten

LETTERBOX_GREY = 114
"""What lies beside a picture in a letterbox: the grey of the detectors that made it usual."""

_LARGE_PIXELS = 20_000_000
_large = threading.Lock()
"""Pictures of more than `_LARGE_PIXELS` are decoded one at a time, so that threads do not add up their memory."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow refuses twice as many

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS,
}  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What turns a picture upright, by its EXIF orientation."""

_ORIENTATION = 0x0112

_UNREADABLE = (
    OSError, SyntaxError, ValueError, LookupError, ArithmeticError, EOFError, MemoryError, struct.error, zlib.error,
    TypeError, AttributeError, RecursionError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are damaged, or meant to be."""


def decode(picture: str | np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """A file, or an array uint8 [H, W] or [H, W, 3], as uint8 [C, height, width], channels in the order asked for.

    Raises InvalidData with why a file cannot be decoded; the reason does not name it.
    """
    if isinstance(picture, np.ndarray):
        return _prepared(Image.fromarray(picture), preprocess)
    with _opened(picture) as image, _turn_of_large(image):
        orientation = _orientation(image)
        image = _converted(image, "L" if preprocess.channels == "grey" else "RGB")
        return _prepared(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image, preprocess)


def decode_plainly(path: str, channels: int, size: tuple[int, int]) -> np.ndarray:
    """A file's own pixels as uint8 [channels, H, W], 1 or 3 channels. Raises InvalidData, also for another size."""
    with _opened(path) as image:
        if image.size != size:
            raise InvalidData(f"it is {image.width}×{image.height} pixels now, not {size[0]}×{size[1]}")
        return _channels_first(np.asarray(_converted(image, "L" if channels == 1 else "RGB")))


def head(path: str) -> tuple[tuple[int, int], bool]:
    """(width, height) as they are stored, and whether a picture has colours; decodes nothing. Raises InvalidData."""
    with _opened(path) as image:
        return image.size, image.mode not in GREY and not image.mode.startswith(("I", "F"))


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The picture in a file, of which only the head is read. Raises InvalidData, also for what is done inside."""
    try:
        with open(path, "rb", opener=without_waiting) as file:
            _require_file(os.fstat(file.fileno()))
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InvalidData(f"it has {image.width}×{image.height} pixels; {MAX_PIXELS:,} are allowed")
                if image.info.get("progressive") and _scans(path) > MAX_SCANS:
                    raise InvalidData(f"it is a progressive JPEG of more than {MAX_SCANS} scans")
                yield image
    except _UNREADABLE as error:
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise InvalidData(f"it cannot be read as an image{why}{_hint(path)}") from error


def _hint(path: str) -> str:
    return "; save HEIC photos as JPEG" if path.lower().endswith((".heic", ".heif")) else ""


def without_waiting(path: str, flags: int) -> int:
    """Opens a file without blocking: it may be a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _require_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidData("it is named like an image but is not a file")
    if status.st_size > MAX_FILE_BYTES:
        raise InvalidData(f"it takes {status.st_size / 2**20:,.1f} MiB; {MAX_FILE_BYTES >> 20} MiB are allowed")


def _scans(path: str) -> int:
    with open(path, "rb", opener=without_waiting) as file:
        return file.read(MAX_FILE_BYTES).count(b"\xff\xda")


@contextmanager
def _turn_of_large(image: Image.Image) -> Iterator[None]:
    if image.width * image.height <= _LARGE_PIXELS:
        yield
    else:
        with _large:
            yield


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation, 1 where there is none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except _UNREADABLE:
        return 1


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """The picture with 8 bits a channel as "L" or "RGB"."""
    if image.mode.startswith("I"):
        values = np.asarray(image)  # [H, W]
        wide = image.mode != "I" or values.max(initial=0) > 255
        image = Image.fromarray((np.clip(values, 0, 65_535) >> (8 if wide else 0)).astype(np.uint8))
    elif image.mode.startswith("F"):
        raise InvalidData("its pixels are floating-point numbers, which have no known range")
    return image.convert(mode)


def _prepared(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    image = image.convert("L" if preprocess.channels == "grey" else "RGB")
    pixels = _channels_first(np.asarray(_cropped(_resized(image, preprocess), preprocess)))
    return np.ascontiguousarray(pixels[::-1] if preprocess.channels == "BGR" else pixels)


def _resized(image: Image.Image, p: Preprocess) -> Image.Image:
    """As torchvision.transforms.Resize for "shorter" and "exact"."""
    resampling = _RESAMPLING[p.interpolation]
    if p.resize == "letterbox":
        return _letterboxed(image, p, resampling)
    size = (p.width, p.height)
    if p.resize == "shorter":
        short, width, height = p.resize_to or min(p.height, p.width), image.width, image.height
        size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if size[0] * size[1] > MAX_PIXELS:
        raise InvalidData(f"it is {image.width}×{image.height} pixels, too long and thin to be resized")
    return image if image.size == size else image.resize(size, resampling)


def _letterboxed(image: Image.Image, p: Preprocess, resampling: Image.Resampling) -> Image.Image:
    scale = min(p.width / image.width, p.height / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    box = Image.new(image.mode, (p.width, p.height), (LETTERBOX_GREY,) * len(image.getbands()))
    inner = image if image.size == (width, height) else image.resize((width, height), resampling)
    box.paste(inner, ((p.width - width) // 2, (p.height - height) // 2))
    return box


def _cropped(image: Image.Image, p: Preprocess) -> Image.Image:
    """As torchvision.transforms.CenterCrop; the picture is at least as large."""
    left, top = round((image.width - p.width) / 2), round((image.height - p.height) / 2)
    return image.crop((left, top, left + p.width, top + p.height))


def _channels_first(array: np.ndarray) -> np.ndarray:
    """uint8 [H, W] or [H, W, C] → [C, H, W]."""
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
