"""Decoded pictures on disk, mapped into memory: a file holds the pixels of all splits one after the other.

uint8 [n, C, H, W], then int64 labels [n], then a description as JSON, its length in 8 bytes, and `MAGIC`. What is
read of it lies in the system's page cache, not in the process's own memory, and leaves the process again by `Mapped`. A
file is written whole or not at all.
"""

import hashlib
import json
import logging
import mmap
import os
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from compression.data.cache_limit import ENDING, KEEP_FREE, clean, folder, limit
from compression.data.dataset import Split, of_histogram
from compression.errors import InvalidData
from compression.host.atomic_files import atomic_write

log = logging.getLogger(__name__)

MAGIC = b"CLPIX\0\0\1"  # the last byte counts up when the meaning of a file changes
SPLITS = ("train", "validation", "test")
MOST_SKIPPED = 10_000
"""Of pictures that are left out, so many are named; the rest is counted."""

MOST_MAPPED = 1 << 30
"""Bytes that are read before the pages of a file leave the process."""


@dataclass(frozen=True)
class Description:
    """What stands in a file beside pixels and labels.

    digests: of each split's pixels, "" where they are to be read. mean, std: per channel, of the pixels of training and
    validation in [0, 1]. `state` is the source's, so that a file made of other pictures is not used.
    """

    state: str
    shape: tuple[int, int, int]  # (channels, height, width)
    counts: tuple[int, int, int]  # images in train, validation and test
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digests: tuple[str, str, str]


_ADAPTER = TypeAdapter(Description)


@dataclass(frozen=True, eq=False)
class PixelFile:
    """An open file: its description and its splits, views of one mapping that nobody can write to."""

    description: Description
    train: Split
    validation: Split
    test: Split


def path_of(key: str) -> Path:
    """Where the pictures with this key are kept."""
    return folder() / f"{key}{ENDING}"


def read(key: str, state: str) -> PixelFile | None:
    """The pictures kept under `key` in that `state` of their source, or None where there are none that can be read."""
    path = path_of(key)
    try:
        with path.open("rb") as file:
            description, size = _description(file.fileno())
            if description is None or description.state != state:
                return None
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        os.utime(path)  # used now: what was not used for longest is removed first
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        log.warning("the decoded pictures in %s cannot be read (%s) and are made again", path, type(error).__name__)
        return None
    return _opened(description, mapped)


def _description(handle: int) -> tuple[Description | None, int]:
    """The description at the end of a file and the bytes before it; None where it is no such file."""
    total = os.fstat(handle).st_size
    if total < 16 or os.pread(handle, 8, total - 8) != MAGIC:
        return None, 0
    length = int.from_bytes(os.pread(handle, 8, total - 16), "little")
    start = total - 16 - length
    if not start >= 0:
        return None, 0
    found = _ADAPTER.validate_json(os.pread(handle, length, start))
    n = sum(found.counts)
    return (found, start) if start == n * int(np.prod(found.shape)) + 8 * n else (None, 0)


def _opened(description: Description, mapped: mmap.mmap) -> PixelFile:
    n, shape = sum(description.counts), description.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of arrays that cannot be written to, which is meant here
        images = torch.from_numpy(np.frombuffer(mapped, np.uint8, n * int(np.prod(shape)))).view(n, *shape)
    labels = torch.from_numpy(np.frombuffer(mapped, np.int64, n, offset=images.numel()).copy())
    splits, start, reading = [], 0, Mapped(mapped).reading
    for count, digest in zip(description.counts, description.digests, strict=True):
        splits.append(Split(images[start : start + count], labels[start : start + count], digest or None, reading))
        start += count
    return PixelFile(description, *splits)


class Mapped:
    """Unmaps pages that were read, so that a pass over a large file does not make the process as large."""

    def __init__(self, mapped: mmap.mmap):
        self._mapped, self._bytes = mapped, 0

    def reading(self, count: int) -> None:
        """So many bytes are about to be read. Pages come back by themselves, from the page cache or the disk."""
        self._bytes += count
        if self._bytes > MOST_MAPPED:
            self._bytes = count
            if hasattr(self._mapped, "madvise"):  # not on Windows, which trims processes by itself
                self._mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Written:
    """What a writer has to know: the description's parts that do not follow from pixels.

    `digested`: fingerprints are made of the file's digests; else of the pixels themselves, as before there were files.
    """

    state: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    source: str
    digested: bool


def write(key: str, about: Written, images: Iterable[tuple[int, int, np.ndarray | str]], expected: int) -> None:
    """Keeps pictures under `key`: (split, label, pixels uint8 [C, H, W]) with the splits 0, 1, 2 in order.

    In place of pixels, a sentence says why a picture is left out. `expected` pictures must fit on the disk.
    Raises InvalidData where they do not, or where the disk cannot be written to; what `images` raises ends it too.
    """
    path = path_of(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_space(path.parent, expected * int(np.prod(about.shape)))
        with atomic_write(path) as partial, partial.open("wb") as file:
            _fill(file, about, images)
        clean(limit(), keep=path)
    except OSError as error:
        raise InvalidData(f"The image cache cannot be written to {path.parent}: {error.strerror}.") from None


def _require_space(place: Path, needed: int) -> None:
    if needed > (free := shutil.disk_usage(place).free - KEEP_FREE):
        raise InvalidData(
            f"The images take {needed / 2**30:.1f} GiB once decoded, but the disk of {place} has "
            f"{max(free, 0) / 2**30:.1f} GiB to spare; a smaller size, fewer test images or "
            "another COMPRESSION_HOME help."
        )


def _fill(file: Any, about: Written, images: Iterable[tuple[int, int, np.ndarray | str]]) -> None:
    digests, counts, labels = [hashlib.sha256() for _ in SPLITS], [0, 0, 0], list[int]()
    skipped, left_out = list[str](), 0
    histogram = np.zeros((about.shape[0], 256), np.int64)
    for split, label, pixels in images:
        if isinstance(pixels, str):
            left_out += 1
            if left_out <= MOST_SKIPPED:
                skipped.append(pixels)
            continue
        content = np.ascontiguousarray(pixels).data
        file.write(content)
        digests[split].update(content)
        counts[split] += 1
        labels.append(label)
        if split < 2:
            histogram += np.stack([np.bincount(channel.ravel(), minlength=256) for channel in pixels])
    if not all(counts):
        raise InvalidData(_too_few(counts, skipped))
    if left_out > MOST_SKIPPED:
        skipped.append(f"and {left_out - MOST_SKIPPED:,} more")
    mean, std = of_histogram(torch.from_numpy(histogram))
    description = Description(
        about.state, about.shape, (counts[0], counts[1], counts[2]), about.classes, tuple(skipped), about.source, mean,
        std, tuple(digest.hexdigest() if about.digested else "" for digest in digests),  # type: ignore[arg-type]
    )  # fmt: skip
    text = json.dumps(asdict(description)).encode()
    file.write(np.array(labels, np.int64).tobytes() + text + len(text).to_bytes(8, "little") + MAGIC)


def _too_few(counts: list[int], skipped: list[str]) -> str:
    empty = SPLITS[counts.index(0)]
    first = f"; {len(skipped):,} were left out, first {skipped[0]}" if skipped else ""
    return f"No image for {empty} can be decoded{first}."
