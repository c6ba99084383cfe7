"""Images in ImageFolder layout: FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE, all of one size."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compression.data.cache import Decoded
from compression.errors import InvalidData

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
MIN_SIDE, MAX_SIDE = 8, 512  # pixels
MAX_BYTES = 2 << 30  # of decoded pixels, all channels
_CHUNK = 256  # images that one thread decodes in a row

Listing = dict[str, dict[str, list[str]]]  # part → class → paths of images


def list_images(folder: Path) -> Listing:
    """The images of both parts by class, sorted by name. Raises InvalidData where the layout is another one."""
    if not folder.is_dir():
        raise InvalidData(f"{folder} is not a folder; a dataset needs one with train/CLASS/IMAGE and test/CLASS/IMAGE.")
    listing = {part: _classes_in(folder / part) for part in ("train", "test")}
    for one, other in (("train", "test"), ("test", "train")):
        if missing := sorted(set(listing[one]) - set(listing[other])):
            raise InvalidData(f"Class {missing[0]!r} is in {one}/ but not in {other}/; both need the same classes.")
    _require_enough(folder, listing)
    return listing


def _classes_in(part: Path) -> dict[str, list[str]]:
    if not part.is_dir():
        raise InvalidData(
            f"{part} is missing; a dataset needs the folders train and test, each with one folder a class."
        )
    names = sorted(entry.name for entry in os.scandir(part) if entry.is_dir() and not entry.name.startswith("."))
    return {name: _images_in(part / name) for name in names}


def _images_in(folder: Path) -> list[str]:
    names = (entry.name for entry in os.scandir(folder))
    return sorted(f"{folder}/{name}" for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def _require_enough(folder: Path, listing: Listing) -> None:
    if len(listing["train"]) < 2:
        raise InvalidData(f"{folder / 'train'} has {len(listing['train'])} classes; at least 2 are needed.")
    for part, least in (("train", 2), ("test", 1)):
        for name, images in listing[part].items():
            if len(images) < least:
                known = ", ".join(SUFFIXES)
                raise InvalidData(
                    f"{folder / part / name} holds {len(images)} images ({known}); at least {least} needed."
                )


def fingerprint(listing: Listing) -> str:
    """Changes when an image is added, removed, renamed or written anew; reads no pixels."""
    digest = hashlib.sha256()
    for path in _flat(listing):
        status = os.stat(path)
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:24]


def decode(folder: Path, listing: Listing) -> Decoded:
    """All images as bytes, one channel if every one is greyscale. Raises InvalidData naming the first that is unfit."""
    paths = list(_flat(listing))
    arrays = _decode_all(paths)
    channels = 1 if all(array.ndim == 2 for array in arrays) else 3
    images = torch.from_numpy(np.stack([_channels_first(array, channels) for array in arrays]))  # [n, C, H, W]
    labels = torch.tensor(
        [label for part in listing.values() for label, files in enumerate(part.values()) for _ in files]
    )  # [n]
    n = sum(map(len, listing["train"].values()))
    source = f"{len(paths):,} images from the folder {folder}."
    return Decoded(images[:n], labels[:n], images[n:], labels[n:], classes=tuple(listing["train"]), source=source)


def _flat(listing: Listing) -> Iterator[str]:
    return (path for part in listing.values() for files in part.values() for path in files)


def _decode_all(paths: list[str]) -> list[np.ndarray]:
    size = _open_size(paths[0])
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise InvalidData(
            f"{paths[0]} is {size[0]}×{size[1]} pixels; sides from {MIN_SIDE} to {MAX_SIDE} pixels are allowed."
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


def _open_size(path: str) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidData(f"{path} cannot be read as an image.") from error


def _decode_one(path: str, size: tuple[int, int], first: str) -> np.ndarray:
    """uint8 [H, W] of a greyscale image, [H, W, 3] of any other."""
    try:
        with Image.open(path) as image:
            if image.size != size:
                raise InvalidData(
                    f"{path} is {image.width}×{image.height} pixels, but {first} is {size[0]}×{size[1]};"
                    " all images must be of one size."
                )
            if image.mode.startswith(("I", "F")):
                raise InvalidData(f"{path} has more than 8 bits a pixel (mode {image.mode}); 8-bit images are needed.")
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidData(f"{path} cannot be read as an image.") from error


def _channels_first(array: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] → [channels, H, W]; greyscale among colours is repeated."""
    if array.ndim == 2:
        return np.broadcast_to(array, (channels, *array.shape))
    return array.transpose(2, 0, 1)
