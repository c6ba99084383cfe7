"""The few real images that lessons run networks on: Fashion-MNIST test images, kept beside the measurements."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compression.data.catalog import DATASETS
from compression.lessons.measured import samples

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class Images:
    """pixels uint8 [n, 1, 28, 28], labels [n], and their places in the test split."""

    pixels: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        """Normalised as the networks were trained: float32 [n, 1, 28, 28]."""
        return normalized(self.pixels)

    def title(self, number: int) -> str:
        """'Ankle boot (test image 0)'."""
        return f"{CLASSES[self.labels[number]]} (test image {self.places[number]})"


@lru_cache(maxsize=1)
def fashion() -> Images:
    """Two images of each class."""
    kept = samples()
    return Images(kept["images"], kept["labels"], kept["places"])


def normalized(pixels: np.ndarray) -> np.ndarray:
    """(x / 255 - mean) / std with Fashion-MNIST's statistics."""
    spec = DATASETS["fashion-mnist"]
    return ((pixels.astype(np.float32) / 255 - spec.mean[0]) / spec.std[0]).astype(np.float32)
