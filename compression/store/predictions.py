"""Predictions to and from blobs: two bytes for the class and two for the confidence of each image, little-endian."""

from typing import Any

import numpy as np

from compression.errors import shown
from compression.records.measurement import Predictions, order
from compression.store.reading import Unreadable

MOST_IMAGES = 50_000_000
"""Test images of a dataset at most: their order is worked out again."""


def to_blobs(predictions: Predictions, n_test: int) -> dict[str, Any]:
    """Values of a row of predictions. The images' indices are kept only where they are not in the fixed order."""
    usual = np.array_equal(predictions.images, order(n_test)[: len(predictions)])
    return {
        "images": None if usual else predictions.images.astype("<i4").tobytes(),
        "classes": predictions.classes.astype("<u2").tobytes(),
        "confidences": predictions.confidences.astype("<f2").tobytes(),
    }


def from_blobs(images: object, classes: object, confidences: object, n_test: object) -> Predictions:
    """The inverse. Raises `Unreadable` for what is no row of predictions."""
    found, sure = _values(classes, "<u2"), _values(confidences, "<f2")
    if type(n_test) is not int or not len(found) <= n_test <= MOST_IMAGES or len(sure) != len(found):
        raise Unreadable(f"{len(found):,} classes, {len(sure):,} confidences and {shown(n_test)} images do not fit")
    which = order(n_test)[: len(found)] if images is None else _values(images, "<i4").astype(np.int64)
    if len(which) != len(found) or not ((which >= 0) & (which < n_test)).all():
        raise Unreadable(f"its images are not {len(found):,} of {n_test:,}")
    return Predictions(which, found.astype(np.uint16), sure.astype(np.float16))


def _values(content: object, kind: str) -> np.ndarray:
    if not isinstance(content, bytes) or len(content) % np.dtype(kind).itemsize:
        raise Unreadable(f"{shown(content)} are no numbers")
    return np.frombuffer(content, kind)
