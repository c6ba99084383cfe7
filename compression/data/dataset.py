"""Images in three splits: `train` to learn and calibrate on, `validation` to choose on, `test` to report on."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from compression.errors import InvalidSetting
from compression.records.preprocess import Preprocess

LUMA = (19_595, 38_470, 7_471)
"""Weights of red, green and blue in a grey pixel, in 65,536ths, as in Pillow (ITU-R BT.601)."""

CHUNK = 256
"""Images that are looked at in a row where all of a split are: it may be larger than the memory."""

SPLIT_SEED = 20_240  # fixed for all datasets: it decides which training images are kept for validation


@dataclass(frozen=True, eq=False)
class Split:
    """`images` uint8 [n, C, H, W] and `labels` int64 [n], -1 where a dataset has none.

    `digest` stands for the pixels in a fingerprint where they lie in a file that knows it: large ones are not read.
    `reading` is told of the bytes that are about to be read, where pixels lie in a mapped file.
    """

    images: torch.Tensor
    labels: torch.Tensor
    digest: str | None = None
    reading: Callable[[int], None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, where: Any) -> torch.Tensor:
        """The images at `where`, a slice or indices [m], as uint8 [m, C, H, W]: how passes over many images read."""
        part = range(len(self))[where] if isinstance(where, slice) else where
        if self.reading:
            self.reading(len(part) * self.images[:1].numel())
        return self.images[where]

    def parts(self) -> Iterator[torch.Tensor]:
        """All images, `CHUNK` at a time."""
        return (self.pixels(slice(start, start + CHUNK)) for start in range(0, len(self), CHUNK))

    def subset(self, indices: torch.Tensor) -> "Split":
        """The images at `indices` (int64 [m]), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory, or mapped into it.

    `mean` and `std` are per channel, of pixels in [0, 1]; `source` says where it came from.

    `given`: they are not the images' own statistics but those that a network was trained with. Without labels
    (`labelled`) every label is -1, and `classes` are what a network says that they can be. `skipped` names the pictures
    that could not be decoded, each with why. `outputs`: classes are a network's outputs, of which not all need occur.
    `notes` say what was left out. `corrections`: (class, output) as `class_names.match` takes them.
    `preprocess` made the pixels, where it is known.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]  # (channels, height, width)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    mirror: bool
    train: Split
    validation: Split
    test: Split
    given: bool = False
    labelled: bool = True
    skipped: tuple[str, ...] = ()
    outputs: bool = False
    notes: tuple[str, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()
    preprocess: Preprocess | None = None

    @property
    def truth(self) -> np.ndarray | None:
        """The labels of all test images [n], None where there are none: files are then held against the fp32 file."""
        return self.test.labels.numpy() if self.labelled else None

    def label_of(self, image: int) -> str:
        """The class of a test image; '' without labels."""
        return self.classes[int(self.test.labels[image])] if self.labelled else ""

    def with_validation(self) -> "Dataset":
        """The same; where no image could be spared for validation, the training images are there to choose on too."""
        return self if len(self.validation) else replace(self, validation=self.train)

    def with_channels(self, channels: int) -> "Dataset":
        """The same images with 1 or 3 channels: grey repeated, colours as Pillow's convert("L") turns them to grey.

        Raises InvalidSetting where the statistics were given for another number.
        """
        now = self.input_shape[0]
        if channels == now:
            return self
        if self.given:
            raise InvalidSetting(
                f"The mean and the standard deviation are given for {now} {'channel' if now == 1 else 'channels'}, but "
                f"the network takes images of {channels}."
            )
        train, validation, test = (
            Split(_converted(split, channels), split.labels, reading=split.reading if channels == 3 else None)
            for split in (self.train, self.validation, self.test)
        )
        mean, std = statistics([train, validation]) if channels == 1 else (self.mean * 3, self.std * 3)
        return replace(
            self, input_shape=(channels, *self.input_shape[1:]), mean=mean, std=std,
            train=train, validation=validation, test=test,
        )  # fmt: skip

    def normalize(
        self, images: torch.Tensor, *, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> torch.Tensor:
        """(x / 255 - mean) / std of uint8 [n, C, H, W] as float32, with the dataset's own statistics by default."""
        shape = (1, -1, 1, 1)
        scale = 1 / torch.tensor(std or self.std, dtype=torch.float32, device=images.device).view(shape)
        shift = torch.tensor(mean or self.mean, dtype=torch.float32, device=images.device).view(shape) * scale
        return images.to(torch.float32).mul_(scale / 255).sub_(shift)

    def at_once(self, most: int, mebibytes: int = 64) -> int:
        """How many images a pass normalises together: `most`, or as many as take so much memory as floats."""
        floats = 4 * self.input_shape[0] * self.input_shape[1] * self.input_shape[2]
        return min(most, max((mebibytes << 20) // floats, 1))

    def calibration(self, n: int = 1024, seed: int = 0) -> torch.Tensor:
        """`n` images (fewer if there are fewer) as uint8 [n, C, H, W], drawn without labels from `train`."""
        generator = torch.Generator().manual_seed(seed)
        return self.train.images[torch.randperm(len(self.train), generator=generator)[:n]]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that can change a result: pixels, labels, splits, class names, normalisation."""
        digest = hashlib.sha256(repr((self.classes, self.input_shape, self.mean, self.std)).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(str(tuple(split.images.shape)).encode())
            if split.digest:
                digest.update(split.digest.encode())
            else:
                for part in split.parts():
                    digest.update(part.contiguous().numpy().data)
            if self.labelled:
                digest.update(split.labels.contiguous().numpy().data)
        return digest.hexdigest()


def _converted(split: Split, channels: int) -> torch.Tensor:
    """uint8 [n, 1 or 3, H, W] → [n, channels, H, W]: a view, or a third of the memory."""
    if channels == 3:
        return split.images.expand(-1, 3, -1, -1)
    grey = torch.empty(len(split), 1, *split.images.shape[2:], dtype=torch.uint8)
    for to, part in zip(grey.split(CHUNK), split.parts(), strict=True):
        red, green, blue = (weight * part[:, i].int() for i, weight in enumerate(LUMA))  # [CHUNK, H, W]
        to[:, 0] = (red + green + blue + 2**15) >> 16
    return grey


def statistics(splits: Sequence[Split]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of the splits' images as pixels in [0, 1], to four digits."""
    histogram = torch.zeros(splits[0].images.shape[1], 256, dtype=torch.int64)
    for part in (chunk for split in splits for chunk in split.parts()):
        for counts, pixels in zip(histogram, part.unbind(1), strict=True):
            counts += torch.bincount(pixels.flatten(), minlength=256)
    return of_histogram(histogram)


def of_histogram(histogram: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same of int64 [C, 256], how often each value is there."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for counts in histogram.double():
        share = counts / counts.sum()
        mean = (share * values).sum()
        means.append(round(mean.item(), 4))
        deviations.append(max(round((share * (values - mean).square()).sum().sqrt().item(), 4), 1e-4))
    return tuple(means), tuple(deviations)


def split_off(labels: torch.Tensor, count: int, seed: int = SPLIT_SEED) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded, stratified split of `labels` int64 [n] into sorted indices (rest, part), `part` about `count` long.

    Every class that has at least two images gives `part` its share and at least one image, and keeps at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().flatten()  # [n of this class]
        share = max(min(max(round(len(members) * count / len(labels)), 1), len(members) - 1), 0)
        chosen[members[torch.randperm(len(members), generator=generator)[:share]]] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def validation_size(n: int) -> int:
    """How many of `n` training images are kept for validation: 5,000, or a tenth of a small set."""
    return 5_000 if n >= 50_000 else n // 10
