"""What a page needs that runs files in a browser: the fp32 file and test images, as plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compression.records.measurement import order

if TYPE_CHECKING:
    from compression.data import Dataset

MOST_PIXELS = 8 << 20
"""Bytes of test images that a page sends along."""


@dataclass(frozen=True)
class BrowserImages:
    """`pixels` uint8 [images, C, H, W], the first of the fixed order of `n_test`; `table` float32 [C, 256] normalises.

    `labels` is None where the images have none.
    """

    fp32: bytes
    pixels: bytes
    table: bytes
    saturation: bytes
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: tuple[int, ...] | None
    images: int
    n_test: int
    fingerprint: str


def browser_images(fp32: bytes, data: "Dataset") -> BrowserImages:
    """The images of a dataset for a browser."""
    from compression.measure.accuracy import normalized_values
    from compression.probing.package import images_of, saturation

    count = images_of(data, MOST_PIXELS)
    chosen = order(len(data.test))[:count]
    labels = tuple(data.test.labels[chosen].tolist()) if data.labelled else None
    return BrowserImages(
        fp32=fp32, pixels=data.test.images[chosen].numpy().tobytes(), table=normalized_values(data).tobytes(),
        saturation=saturation(), shape=data.input_shape, classes=data.classes, labels=labels, images=count,
        n_test=len(data.test), fingerprint=data.fingerprint,
    )  # fmt: skip
