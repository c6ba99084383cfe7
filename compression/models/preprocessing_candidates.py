"""Which preprocessing a network was trained with, where its file does not say: the usual ones, tried on pictures.

    pictures = training_pictures("folder:PATH", count=256)
    ranked = rank_preprocessings(network, pictures, (224, 224))

The test split is never seen. The user chooses.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from compression.data import layouts
from compression.data.decoding import decode
from compression.data.folder import FOLDER_PREFIX
from compression.data.loading import path_of
from compression.data.preparing import in_order
from compression.errors import Cancelled, InvalidData
from compression.network.decisions import classes
from compression.records.preprocess import MAX_SIDE, Channels, Preprocess

BATCH = 32
CROP = 0.875  # the share of the shorter side that ImageNet's networks see: 224 of 256

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = tuple(value / 255 for value in (123.68, 116.779, 103.939))[::-1]  # blue, green, red

NORMALIZATIONS: dict[str, tuple[Channels, tuple[float, ...], tuple[float, ...]]] = {
    "ImageNet's mean and deviation": ("RGB", _MEAN, _STD),
    "0 to 1": ("RGB", (0.0,) * 3, (1.0,) * 3),
    "-1 to 1": ("RGB", (0.5,) * 3, (0.5,) * 3),
    "0 to 255": ("RGB", (0.0,) * 3, (1 / 255,) * 3),
    "Caffe: blue, green, red, less their means": ("BGR", _CAFFE, (1 / 255,) * 3),
}
GREY_NORMALIZATIONS: dict[str, tuple[Channels, tuple[float, ...], tuple[float, ...]]] = {
    "0 to 1": ("grey", (0.0,), (1.0,)),
    "-1 to 1": ("grey", (0.5,), (0.5,)),
    "0 to 255": ("grey", (0.0,), (1 / 255,)),
}

Network = Callable[[torch.Tensor], torch.Tensor]
"""float32 [n, C, H, W] → scores [n, classes]."""


@dataclass(frozen=True)
class Picture:
    """A file and the index of the network's output that is right for it."""

    path: str
    label: int


@dataclass(frozen=True)
class Ranked:
    """A candidate and how well the network does with it on `n` pictures; `loss` is the mean cross-entropy."""

    title: str
    preprocess: Preprocess
    accuracy: float
    loss: float
    n: int


def candidates(size: tuple[int, int], channels: int = 3) -> tuple[tuple[str, Preprocess], ...]:
    """(title, record) for a network that takes `channels` (1 or 3) of `size`, (height, width)."""
    height, width = size
    shorter = min(max(round(max(size) / CROP), max(size)), MAX_SIDE)
    found = []
    for title, (order, mean, std) in (NORMALIZATIONS if channels == 3 else GREY_NORMALIZATIONS).items():
        crop = Preprocess(height, width, resize_to=shorter, channels=order, mean=mean, std=std)
        found += [
            (f"{title}; shorter side {shorter}, centre", crop),
            (f"{title}; stretched", Preprocess(height, width, "exact", channels=order, mean=mean, std=std)),
        ]
    return tuple(found)


def training_pictures(name: str, count: int = 256, seed: int = 0) -> tuple[list[Picture], tuple[str, ...]]:
    """`count` labelled training pictures of "folder:PATH", drawn by `seed`, and the classes that labels stand for.

    Raises InvalidData where it is no folder, or has no labels.
    """
    if not name.startswith(FOLDER_PREFIX):
        raise InvalidData(f"{name!r} is not an image folder; write folder:PATH.")
    listing = layouts.list_folder(path_of(name))
    if not listing.labelled:
        raise InvalidData(f"{listing.folder} has no labels, which are needed to compare preprocessings.")
    train = layouts.sampled(layouts.in_splits(listing)["train"], count, seed)
    return [Picture(*pair) for pair in zip(train.paths, train.labels, strict=True)], listing.classes


@torch.no_grad()
def rank_preprocessings(
    network: Network,
    pictures: Sequence[Picture],
    size: tuple[int, int],
    *,
    channels: int = 3,
    progress: Callable[[str, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[Ranked, ...]:
    """The candidates by accuracy on the pictures, then by loss, best first; the first of them in both interpolations.

    A picture that cannot be decoded does not count. Raises InvalidData where none can, and Cancelled.
    """
    tried, kinds = candidates(size, channels), dict[str, tuple[torch.Tensor, torch.Tensor]]()

    def one(i: int, title: str, preprocess: Preprocess) -> Ranked:
        if progress:
            progress(f"Trying {title}", i / (len(tried) + 1))
        key = preprocess.pixels_hash
        if key not in kinds:
            kinds[key] = _decoded(pictures, preprocess, stop)
        return _tried(network, title, preprocess, *kinds[key], stop)

    known = _sorted(one(i, *each) for i, each in enumerate(tried))
    smooth = replace(known[0].preprocess, interpolation="bicubic")
    return tuple(_sorted([*known, one(len(tried), f"{known[0].title}; bicubic", smooth)]))


def _sorted(known: Iterable[Ranked]) -> list[Ranked]:
    return sorted(known, key=lambda each: (-each.accuracy, each.loss))


def _decoded(
    pictures: Sequence[Picture], preprocess: Preprocess, stop: Callable[[], bool] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [n, C, H, W] and int64 [n]."""

    def one(picture: Picture) -> np.ndarray | None:
        try:
            return decode(picture.path, preprocess)
        except InvalidData:
            return None

    pixels, labels = list[torch.Tensor](), list[int]()
    for picture, found in zip(pictures, in_order(one, pictures), strict=True):
        _go_on(stop)
        if found is not None:
            pixels.append(torch.from_numpy(found))
            labels.append(picture.label)
    if not pixels:
        raise InvalidData(f"None of {len(pictures):,} training images can be decoded.")
    return torch.stack(pixels), torch.tensor(labels)


def _tried(
    network: Network, title: str, preprocess: Preprocess, pixels: torch.Tensor, labels: torch.Tensor,
    stop: Callable[[], bool] | None,
) -> Ranked:  # fmt: skip
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocess.mean, preprocess.std))
    scores = []
    for part in pixels.split(BATCH):
        _go_on(stop)
        scores.append(network((part.float() / 255 - mean) / std).float())
    found = torch.nan_to_num(torch.cat(scores), nan=-1e9, posinf=1e9, neginf=-1e9)
    right = (classes(found) == labels).float().mean().item()
    return Ranked(title, preprocess, right, F.cross_entropy(found, labels).item(), len(labels))


def _go_on(stop: Callable[[], bool] | None) -> None:
    if stop and stop():
        raise Cancelled("Trying preprocessings was stopped.")
