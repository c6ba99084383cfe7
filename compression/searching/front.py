"""Pareto fronts and the volume that they dominate; everything is minimised."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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


@dataclass(frozen=True)
class Room:
    """What points do not dominate below a reference, as disjoint boxes between corners `low` and `high` [b, 3]."""

    low: np.ndarray
    high: np.ndarray
    bound: np.ndarray

    @classmethod
    def beside(cls, points: np.ndarray, reference: Sequence[float]) -> "Room":
        """Of points [n, 3]: slabs between them along the last axis, and the steps of a staircase in each."""
        bound = np.asarray(reference, dtype=float)
        return cls(*_left_over(points[(points < bound).all(1)], bound), bound)

    def gains(self, asked: np.ndarray) -> np.ndarray:
        """What each of `asked` [k, 3] alone adds to the volume that the points dominate."""
        own = np.where(np.isfinite(asked).all(1, keepdims=True), asked, self.bound)
        sides = np.maximum(self.high - np.maximum(self.low, own[:, None]), 0.0)  # [k, b, 3]
        return np.asarray(sides.prod(2).sum(1))


def _left_over(points: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [b, 3] of disjoint boxes that together are what points [n, 3] do not dominate below `bound` [3]."""
    ordered = points[np.argsort(points[:, 2], kind="stable")]
    levels = [-np.inf, *ordered[:, 2], bound[2]]
    low, high = [], []
    stairs = np.array([[-np.inf, bound[1]]])  # x at which a step begins, and its y
    for number, (bottom, top) in enumerate(pairwise(levels)):
        if number:
            x, y = ordered[number - 1, :2]
            left, under = stairs[stairs[:, 0] < x], stairs[(stairs[:, 0] >= x) & (stairs[:, 1] < y)]
            if left[-1, 1] > y:
                stairs = np.concatenate([left, [[x, y]], under])
        if top > bottom:
            ends = np.append(stairs[1:, 0], bound[0])
            count = len(stairs)
            low.append(np.column_stack([stairs[:, 0], np.full(count, -np.inf), np.full(count, bottom)]))
            high.append(np.column_stack([ends, stairs[:, 1], np.full(count, top)]))
    return np.concatenate(low), np.concatenate(high)


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
