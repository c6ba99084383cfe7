"""From a listing of pictures to a file of pixels: decoded by several threads, once."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from compression.data import pixel_files
from compression.data.decoding import decode, decode_plainly, head
from compression.data.folder import named
from compression.data.layouts import Part
from compression.data.pixel_files import PixelFile, Written
from compression.errors import Cancelled, InvalidData
from compression.records.preprocess import Preprocess

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]

PLAIN_SIDES = (8, 512)  # pixels; pictures of one such size are taken as they are
USUAL_SIZE = (224, 224)
"""(height, width) for pictures of many sizes where nothing says what the network takes."""

GREY_NUMBERS = (
    (0.449,),
    (0.226,),
)  # ImageNet's, over channels; pixels do not depend on them
_CHUNK = 16  # pictures that one thread decodes in a row
_AHEAD = 4  # chunks a thread that are decoded before they are written


@dataclass(frozen=True)
class Plan:
    """How pictures become pixels: as `preprocess` says or, where it is None, as they are, with `channels` of `size`.

    size: (width, height). `said` is a sentence for the user, where something was decided for them.
    """

    preprocess: Preprocess | None
    channels: int
    size: tuple[int, int]
    said: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.size[1], self.size[0]

    def written(self, state: str, classes: tuple[str, ...], source: str) -> Written:
        """What a file of pixels made by this plan says of itself."""
        said = f"{source} {self.said}".rstrip()
        return Written(state, self.shape, classes, said, digested=self.preprocess is not None)

    def decode(self, picture: str | np.ndarray) -> np.ndarray:
        """uint8 [C, H, W]. Raises InvalidData."""
        if self.preprocess:
            return decode(picture, self.preprocess)
        return decode_plainly(str(picture), self.channels, self.size)


def plan_of(preprocess: Preprocess) -> Plan:
    """The plan that a record makes."""
    channels = 1 if preprocess.channels == "grey" else 3
    return Plan(preprocess, channels, (preprocess.width, preprocess.height))


def survey(parts: Iterable[Part], size: tuple[int, int] | None, progress: Progress, stop: Stop) -> Plan:
    """A plan for pictures about which nothing is known, from their heads. `size`: (height, width) of the network.

    Of one size: as they are. Half of them or more of one size: the others are scaled to it. Else the shorter side is
    scaled to the network's, by default `USUAL_SIZE`, and the centre is cut out. Without colours: one channel.
    Raises InvalidData where none can be read.
    """
    paths = [path for part in parts for path in part.paths]
    sizes, colours, unreadable = Counter[tuple[int, int]](), False, ""
    for i, found in enumerate(in_order(_head, paths)):
        if i % 64 == 0:
            _go_on(stop)
            progress(f"Reading {len(paths):,} images", i / len(paths))
        if isinstance(found, str):
            unreadable = unreadable or found
        else:
            sizes[found[0]] += 1
            colours |= found[1]
    if not sizes:
        raise InvalidData(f"None of {len(paths):,} images can be read, first {unreadable}.")
    return _decided(sizes, 3 if colours else 1, size)


def _head(path: str) -> tuple[tuple[int, int], bool] | str:
    try:
        return head(path)
    except InvalidData as error:
        return f"{named(path)}: {error}"


def _decided(sizes: Counter[tuple[int, int]], channels: int, network: tuple[int, int] | None) -> Plan:
    ((usual, count),) = sizes.most_common(1)
    fits = all(PLAIN_SIDES[0] <= side <= PLAIN_SIDES[1] for side in usual)
    if fits and len(sizes) == 1:
        return Plan(None, channels, usual)
    if fits and network is None and 2 * count >= sizes.total():
        width, height = usual
        chosen = _preprocess(channels, height, width, resize="exact")
        said = f"{sizes.total() - count:,} images of other sizes were scaled to {width}×{height} pixels."
    else:
        height, width = network or USUAL_SIZE
        chosen = _preprocess(channels, height, width, resize="shorter", resize_to=max(height, width))
        said = (
            f"They have {len(sizes):,} sizes: the shorter side was scaled to {max(height, width)} pixels and the "
            f"centre of {width}×{height} cut out."
        )
    return Plan(chosen, channels, (width, height), said)


def _preprocess(channels: int, height: int, width: int, **how: Any) -> Preprocess:
    if channels == 1:
        return Preprocess(height, width, channels="grey", mean=GREY_NUMBERS[0], std=GREY_NUMBERS[1], **how)
    return Preprocess(height, width, **how)


Picture = tuple[int, str | np.ndarray, int]
"""(split, path or pixels uint8 [H, W] or [H, W, 3], label), splits counted 0, 1, 2."""


def make(
    key: str, about: Written, pictures: Iterable[Picture], count: int, plan: Plan, *, where: Path | None = None,
    skipped: Sequence[str] = (), progress: Progress, stop: Stop,
) -> PixelFile:  # fmt: skip
    """Decodes the `count` pictures, split by split, into the file of pixels called `key`, and opens it.

    `skipped` are pictures that were left out before, and `where` the folder that names in sentences begin at.
    Raises InvalidData where too few can be decoded or the disk is too small, and Cancelled, which leave nothing.
    """

    def one(picture: Picture) -> tuple[int, int, np.ndarray | str]:
        split, source, label = picture
        try:
            return split, label, plan.decode(source)
        except InvalidData as error:
            name = named(os.path.relpath(source, where)) if isinstance(source, str) else "A picture"
            return split, label, f"{name}: {error}"

    def images() -> Iterator[tuple[int, int, np.ndarray | str]]:
        yield from ((0, 0, sentence) for sentence in skipped)
        for i, image in enumerate(in_order(one, pictures)):
            if i % _CHUNK == 0:
                _go_on(stop)
                progress(f"Decoding image {i + 1:,} of {count:,}", i / count)
            yield image

    pixel_files.write(key, about, images(), count)
    made = pixel_files.read(key, about.state)
    if made is None:
        raise InvalidData(f"The image cache in {pixel_files.path_of(key)} is gone or has changed; try again.")
    return made


def pictures_of(splits: dict[str, Part]) -> list[Picture]:
    """The files of all splits, in order."""
    found = [(i, splits[name]) for i, name in enumerate(pixel_files.SPLITS)]
    return [(i, path, label) for i, part in found for path, label in zip(part.paths, part.labels, strict=True)]


def _go_on(stop: Stop) -> None:
    if stop():
        raise Cancelled("Decoding was stopped.")


def in_order(function: Callable[[T], R], values: Iterable[T]) -> Iterator[R]:
    """`map` by several threads, a few chunks ahead of whoever reads."""
    threads = min(os.cpu_count() or 1, 8)
    pool, waiting, rest = ThreadPoolExecutor(threads), deque[Future[list[R]]](), iter(values)

    def ask() -> None:
        if chunk := list(islice(rest, _CHUNK)):
            waiting.append(pool.submit(lambda: [function(value) for value in chunk]))

    try:
        for _ in range(threads * _AHEAD):
            ask()
        while waiting:
            yield from waiting.popleft().result()
            ask()
    finally:
        pool.shutdown(cancel_futures=True)
