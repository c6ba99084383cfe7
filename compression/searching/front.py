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
    left, found = np.lexsort(values.T[::-1]), list[int]()  # stable: of equal points the first comes first
    while len(left):  # a point dominates none before it in this order, so that the first is on the front
        found.append(int(left[0]))
        left = left[1:][~np.all(values[left[0]] <= values[left[1:]], axis=1)]
    return sorted(found)


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


def gain(point: Sequence[float], points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """What `point` [d] adds to the volume of points [n, d]: its own, less what of it they dominate as well."""
    bound, own = np.asarray(reference, dtype=float), np.asarray(point, dtype=float)
    if not np.isfinite(own).all() or (own >= bound).any():
        return 0.0
    shared = np.maximum(np.asarray(points, dtype=float).reshape(-1, len(bound)), own)
    return max(float((bound - own).prod()) - hypervolume(shared, reference), 0.0)


def _volume(values: np.ndarray, bound: np.ndarray) -> float:
    """values [n, d], none dominated where d is above 2."""
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
            volume += depth * _volume(slab if len(bound) == 3 else slab[front(slab)], bound[:-1])
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
