"""The few real images that lessons run networks on.

Fashion-MNIST test images are kept beside the measurements. Colour photographs do not come with the project; they are
taken from CIFAR-10 where this user has it.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from compression.data import cache
from compression.data.catalog import DATASETS
from compression.lessons.measured import samples

EACH_CLASS = 2
PHOTOGRAPHS = "cifar10"

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class Images:
    """pixels uint8 [n, C, h, w], labels [n], and their places in the test split of `dataset`."""

    pixels: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    dataset: str = "fashion-mnist"
    classes: tuple[str, ...] = CLASSES

    @property
    def inputs(self) -> np.ndarray:
        """Normalised as the networks were trained: float32 [n, C, h, w]."""
        return normalized(self.pixels, self.dataset)

    def title(self, number: int) -> str:
        """'Ankle boot (test image 0)'."""
        return f"{self.classes[self.labels[number]]} (test image {self.places[number]})"

    def picture(self, number: int) -> np.ndarray:
        """To be shown: [h, w] of a grey image, [h, w, 3] of one in colour."""
        pixels = self.pixels[number]
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


@lru_cache(maxsize=1)
def fashion() -> Images:
    """Two images of each class."""
    kept = samples()
    return Images(kept["images"], kept["labels"], kept["places"])


def photographs() -> Images | None:
    """Two colour photographs of each class of CIFAR-10's test split; None where this user does not have them."""
    path = cache.path_of(PHOTOGRAPHS)
    try:
        return _photographs(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1)
def _photographs(path: Path, _changed_at: int) -> Images | None:
    """The photographs of that file, of which no more is read; None where it is none that this version has written."""
    spec = DATASETS[PHOTOGRAPHS]
    try:
        with safe_open(path, framework="np") as file:
            metadata, labels, images = (
                file.metadata() or {},
                file.get_tensor("test_labels"),
                file.get_slice("test_images"),
            )
            classes = tuple(map(str, json.loads(metadata["classes"])))
            shape, kind = [len(labels), *spec.input_shape], (images.get_dtype(), labels.ndim, len(classes))
            if metadata["format"] != cache.FORMAT or images.get_shape() != shape or kind != ("U8", 1, spec.classes):
                return None
            places = np.concatenate([np.flatnonzero(labels == c)[:EACH_CLASS] for c in range(len(classes))])
            pixels = np.stack([images[int(place)] for place in places])
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return Images(pixels, labels[places], places, PHOTOGRAPHS, classes)


def normalized(pixels: np.ndarray, dataset: str = "fashion-mnist") -> np.ndarray:
    """(x / 255 - mean) / std with the dataset's statistics of each channel."""
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (DATASETS[dataset].mean, DATASETS[dataset].std))
    return (pixels.astype(np.float32) / 255 - mean) / std
