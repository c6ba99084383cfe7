"""Images as a `.tflite` file takes them: floats or codes, channels last or first. No torch in here."""

from typing import NamedTuple

import numpy as np

MOST_CLASSES = 65_536
"""A class is kept in 16 bits."""


class Takes(NamedTuple):
    """How the file takes images: `batch` at once, of `channels`, which stand last or first; `grid` is that of codes."""

    tensor: int
    batch: int
    channels: int
    channels_last: bool
    dtype: type
    grid: tuple[float, int]


def fed(takes: Takes, pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Pixels uint8 [n, C, H, W], n at most the file's batch, as the file takes them; the last fills up the batch."""
    pixels = pixels[np.arange(takes.batch).clip(max=len(pixels) - 1)]
    values = np.stack([table[channel][pixels[:, channel]] for channel in range(len(table))], axis=1)
    values = values.transpose(0, 2, 3, 1) if takes.channels_last else values
    if takes.dtype is np.float32:
        return np.ascontiguousarray(values)
    scale, zero = takes.grid
    bounds = np.iinfo(takes.dtype)
    return np.clip(np.round(values / np.float32(scale)) + zero, bounds.min, bounds.max).astype(takes.dtype)
