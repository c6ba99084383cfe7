"""Tensors laid out as pictures: filters side by side, feature maps in a row."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """Tiles on a plane [h, w] from top to bottom; NaN between tiles. `gone` marks cells that were removed."""

    values: np.ndarray
    gone: np.ndarray
    reach: float
    """The largest magnitude; what colours are scaled to."""


def mosaic(tensor: np.ndarray, keep: np.ndarray | None = None, *, columns: int, limit: int | None = None) -> Picture:
    """The kernels of a weight [out, in, kh, kw], one row for each of the first `limit` filters, `columns` inputs each.

    Where `keep` is false the cell is empty and stands in `gone`.
    """
    shown = tensor[:limit, :columns]
    kept = np.ones_like(shown, bool) if keep is None else keep[:limit, :columns]
    values = _tiles(np.where(kept, shown, np.nan))
    gone = _tiles(np.where(kept, np.nan, 1.0))
    return Picture(values, gone, float(np.abs(tensor).max()))


def strip(maps: np.ndarray, *, columns: int) -> Picture:
    """Feature maps [C, H, W] as tiles, `columns` in a row; the last row may be shorter."""
    rows = -(-len(maps) // columns)
    padded = np.full((rows * columns, *maps.shape[1:]), np.nan, np.float32)
    padded[: len(maps)] = maps
    values = _tiles(padded.reshape(rows, columns, *maps.shape[1:]))
    return Picture(values, np.full_like(values, np.nan), float(np.abs(maps).max()))


def _tiles(grid: np.ndarray) -> np.ndarray:
    """grid [rows, columns, h, w] as one plane with a line of NaN between the tiles."""
    rows, columns, h, w = grid.shape
    plane = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1), np.nan, np.float32)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (h + 1), column * (w + 1)
            plane[top : top + h, left : left + w] = grid[row, column]
    return plane
