"""Predictions to and from blobs: two bytes for the class and two for the confidence of each image, little-endian."""

from typing import Any

import numpy as np

from compression.records.measurement import Predictions, order


def to_blobs(predictions: Predictions, n_test: int) -> dict[str, Any]:
    """Values of a row of predictions. The images' indices are kept only where they are not in the fixed order."""
    usual = np.array_equal(predictions.images, order(n_test)[: len(predictions)])
    return {
        "images": None if usual else predictions.images.astype("<i4").tobytes(),
        "classes": predictions.classes.astype("<u2").tobytes(),
        "confidences": predictions.confidences.astype("<f2").tobytes(),
    }


def from_blobs(images: bytes | None, classes: bytes, confidences: bytes, n_test: int) -> Predictions:
    """The inverse."""
    found = np.frombuffer(classes, "<u2").astype(np.uint16)
    which = order(n_test)[: len(found)] if images is None else np.frombuffer(images, "<i4").astype(np.int64)
    return Predictions(which, found, np.frombuffer(confidences, "<f2").astype(np.float16))
