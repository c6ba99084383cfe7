"""Pareto fronts and the volume that they dominate; everything is minimised."""

from collections.abc import Sequence

import numpy as np


def front(points: Sequence[Sequence[float]] | np.ndarray) -> list[int]:
    """Indices of the points [n, d] that no other dominates, in order; of equal points the first.

    A point dominates another that it is no worse than in every coordinate and better in one.
    """
    values = np.asarray(points, dtype=float)
    if not len(values):
        return []
    no_worse = np.all(values[None] <= values[:, None], axis=-1)  # [point, rival]
    better = np.any(values[None] < values[:, None], axis=-1)
    dominated = np.any(no_worse & better, axis=1)
    same = np.asarray(no_worse & ~better)
    first = np.array([not same[i, :i].any() for i in range(len(values))])
    return [int(i) for i in np.flatnonzero(~dominated & first)]


def hypervolume(points: Sequence[Sequence[float]] | np.ndarray, reference: Sequence[float]) -> float:
    """Volume of what the points [n, d] dominate below `reference` [d]: by slices along the last axis (HSO).

    While, Hingston, Barone, Huband (2006), A faster algorithm for calculating hypervolume. Points that are not below
    the reference in every coordinate add nothing.
    """
    bound = np.asarray(reference, dtype=float)
    values = np.asarray(points, dtype=float).reshape(-1, len(bound))
    values = values[np.isfinite(values).all(1)]
    values = values[(values < bound).all(1)]
    return float(_volume(values[front(values)], bound)) if len(values) else 0.0


def _volume(values: np.ndarray, bound: np.ndarray) -> float:
    """values [n, d], none dominated."""
    if len(bound) == 1:
        return float(bound[0] - values.min())
    if len(bound) == 2:
        ordered = values[np.argsort(values[:, 0], kind="stable")]
        heights = np.minimum.accumulate(ordered[:, 1])
        above = np.concatenate([bound[1:], heights[:-1]])
        return float(((bound[0] - ordered[:, 0]) * (above - heights)).sum())
    ordered = values[np.argsort(values[:, -1], kind="stable")]
    depths = np.append(ordered[1:, -1], bound[-1]) - ordered[:, -1]
    volume = 0.0
    for number, depth in enumerate(depths, 1):
        if depth > 0:
            slab = ordered[:number, :-1]
            volume += depth * _volume(slab[front(slab)], bound[:-1])
    return volume


def knee(points: Sequence[Sequence[float]] | np.ndarray) -> int | None:
    """The point of a two-dimensional front [n, 2] that lies furthest from the line between its ends, towards less.

    Both axes are scaled to [0, 1] first. None where there are fewer than three points, or none lies below the line.
    """
    values = np.asarray(points, dtype=float)
    if len(values) < 3:
        return None
    span = values.max(0) - values.min(0)
    if (span <= 0).any():
        return None
    scaled = (values - values.min(0)) / span
    below = 1 - scaled.sum(1)  # the line between the ends is x + y = 1
    best = int(below.argmax())
    return best if below[best] > 1e-9 else None
