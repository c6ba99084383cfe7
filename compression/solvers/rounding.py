"""Rounding against a Hessian: GPTQ and coordinate descent, on grids and codebooks.

A layer computes y = W x with x [d] one patch of its input. Over n patches with means removed, H = Σ x xᵀ / n [d, d] and
G = Σ y* xᵀ / n [out, d], where y* are the answers it should give. Up to a constant, the mean squared error of W is
tr(W H Wᵀ) - 2 tr(W Gᵀ). Everything here is batched over a layer's groups: H [g, d, d], G and W [g, out/g, d].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from compression.network.integer_grids import nearest_power
from compression.solvers.moments import Moments

LEAST = 1e-10
"""An input with a smaller share of H's mean diagonal says nothing about its weights."""


BLOCK = 64


def round_to(grid: "Grid | Levels", w: torch.Tensor, m: Moments, *, sweeps: int) -> torch.Tensor:
    """Points of `grid` for w [g, out/g, d] with little error: GPTQ, then coordinate descent.

    GPTQ (Frantar et al. 2023) where nothing is masked: column by column, each rounding error is made up for by the
    columns still to come. Then `sweeps` times over all columns, each is rounded to its best value given all others
    (Behdin et al. 2023), which never increases the error.
    """
    q = _gptq(grid, w, m) if grid.keep is None else grid.round(w)
    for _ in range(sweeps):
        q = coordinate_descent(grid, q, m)
    return q


@dataclass(frozen=True)
class Grid:
    """scale · ({low … top} + offset) for each row: offset 0 has zero as a level, offset 1/2 has one level more.

    With `powers` the levels are 0, ±1, ±2, ±4 … ±top instead. scale, low, top, offset [g, out/g]; keep [g, out/g, d] or
    None; multipliers [g, out/g, d] of the scale, or None.
    """

    scale: torch.Tensor
    low: torch.Tensor
    top: torch.Tensor
    offset: torch.Tensor
    keep: torch.Tensor | None = None
    multipliers: torch.Tensor | None = None
    powers: bool = False

    def scaled(self, scale: torch.Tensor) -> "Grid":
        """The same grid with another scale."""
        return replace(self, scale=scale)

    def rows(self, rows: slice) -> "Grid":
        """The grid of some of the rows."""

        def of(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else values[:, rows]

        low, top, offset = self.low[:, rows], self.top[:, rows], self.offset[:, rows]
        return replace(
            self, scale=self.scale[:, rows], low=low, top=top, offset=offset, keep=of(self.keep),
            multipliers=of(self.multipliers),
        )  # fmt: skip

    def round(self, w: torch.Tensor) -> torch.Tensor:
        """w [g, out/g, d] to the nearest grid points; masked ones to zero."""
        scale = self.scale[..., None]
        if self.multipliers is not None:
            scale = scale * self.multipliers
        q = self._nearest(w, scale, self.low[..., None], self.top[..., None], self.offset[..., None])
        return q if self.keep is None else q * self.keep

    def round_column(self, w: torch.Tensor, i: int) -> torch.Tensor:
        """w [g, out/g], column i, to the nearest grid points, as if nothing were masked."""
        scale = self.scale if self.multipliers is None else self.scale * self.multipliers[..., i]
        return self._nearest(w, scale, self.low, self.top, self.offset)

    def _nearest(
        self, w: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, top: torch.Tensor, offset: torch.Tensor
    ) -> torch.Tensor:
        if self.powers:
            return nearest_power(w / scale, top).mul_(scale)
        steps = (w / scale).sub_(offset).round_().add_(offset)
        return torch.minimum(torch.maximum(steps, low), top).mul_(scale)


@dataclass(frozen=True)
class Levels:
    """scale · one of `levels` for each row: any set of values, as codebooks have them.

    scale [g, out/g], not zero; levels [g, out/g, K] ascending; middles [g, out/g, K-1] between them; keep [g, out/g, d]
    or None.
    """

    scale: torch.Tensor
    levels: torch.Tensor
    middles: torch.Tensor
    keep: torch.Tensor | None = None

    @classmethod
    def of(cls, scale: torch.Tensor, levels: torch.Tensor, keep: torch.Tensor | None = None) -> "Levels":
        """Rows of ascending `levels`."""
        middles = (levels[..., 1:] + levels[..., :-1]) / 2
        return cls(scale, levels.contiguous(), middles.contiguous(), keep)

    def index(self, w: torch.Tensor) -> torch.Tensor:
        """Number of the nearest level for each of w [g, out/g, d]."""
        return torch.searchsorted(self.middles, (w / self.scale[..., None]).contiguous())

    def round(self, w: torch.Tensor) -> torch.Tensor:
        """w [g, out/g, d] to the nearest levels; masked ones to zero."""
        q = self.levels.gather(2, self.index(w)) * self.scale[..., None]
        return q if self.keep is None else q * self.keep

    def round_column(self, w: torch.Tensor, i: int) -> torch.Tensor:
        """w [g, out/g] of one column (the levels are the same in all) to the nearest, as if nothing were masked."""
        return self.levels.gather(2, self.index(w[..., None]))[..., 0] * self.scale


def best_scale(q: torch.Tensor, scale: torch.Tensor, m: Moments) -> torch.Tensor:
    """The scale [g, out/g] with the least error for the codes of q: scale · (q·g) / (q·H·q)."""
    factor = (q * m.g).sum(2) / (q * (q @ m.h)).sum(2).clamp_min(1e-20)
    return torch.where((factor > 0.5) & (factor < 2), scale * factor, scale)


def _gptq(grid: Grid | Levels, w: torch.Tensor, m: Moments) -> torch.Tensor:
    nearest = _nearest(grid)
    rest, u = _columns(w), _pairs(m.inverse_cholesky / m.inverse_cholesky.diagonal(dim1=1, dim2=2)[..., None])
    q, errors = np.empty_like(rest), np.empty_like(rest)
    for begin in range(0, len(rest), BLOCK):
        end = min(begin + BLOCK, len(rest))
        for i in range(begin, end):
            q[i] = nearest(rest[i], i)
            np.subtract(rest[i], q[i], out=errors[i])
            rest[i + 1 : end] -= u[i, i + 1 : end, :, None] * errors[i]
        _spread_(rest[end:], u[begin:end, end:], errors[begin:end])
    return _rows(q)


def coordinate_descent(grid: Grid | Levels, q: torch.Tensor, m: Moments) -> torch.Tensor:
    """One sweep over the columns of q [g, out/g, d], each rounded to its best point given all the others."""
    nearest, keep = _nearest(grid), None if grid.keep is None else _columns(grid.keep)
    residual = _columns(m.g - q @ m.h)  # [d, g, out/g]
    h = _pairs(m.h)
    least = (LEAST * m.power).clamp_min(1e-30)
    steps = 1 / _columns(m.h.diagonal(dim1=1, dim2=2)[:, None].maximum(least))  # [d, g, 1]
    points = _columns(q)
    changes = np.empty_like(points)
    for begin in range(0, len(points), BLOCK):
        end = min(begin + BLOCK, len(points))
        for i in range(begin, end):
            new = nearest(points[i] + residual[i] * steps[i], i)
            if keep is not None:
                new *= keep[i]
            np.subtract(new, points[i], out=changes[i])
            points[i] = new
            residual[i + 1 : end] -= h[i, i + 1 : end, :, None] * changes[i]
        _spread_(residual[end:], h[begin:end, end:], changes[begin:end])
    return _rows(points)


def _nearest(grid: Grid | Levels) -> Callable[[np.ndarray, int], np.ndarray]:
    """`grid.round_column` for arrays: a column has so few weights that PyTorch would mostly be starting operators."""
    if isinstance(grid, Levels) and grid.levels.eq(grid.levels[0, 0]).all():  # one book for all rows
        steps, middles, levels = grid.scale.numpy(), grid.middles[0, 0].numpy(), grid.levels[0, 0].numpy()
        return lambda column, i: levels[middles.searchsorted(column / steps)] * steps
    if isinstance(grid, Levels) or grid.powers:
        return lambda column, i: grid.round_column(torch.from_numpy(column), i).numpy()
    scale, offset = grid.scale.numpy(), grid.offset.numpy()  # [g, out/g]
    low, high = grid.low.numpy() - offset, grid.top.numpy() - offset
    multipliers = None if grid.multipliers is None else _columns(grid.multipliers)

    def nearest(column: np.ndarray, i: int) -> np.ndarray:
        step = scale if multipliers is None else scale * multipliers[i]
        codes = column / step
        codes -= offset
        np.rint(codes, out=codes)
        np.maximum(codes, low, out=codes)
        np.minimum(codes, high, out=codes)
        codes += offset
        codes *= step
        return codes

    return nearest


def _columns(values: torch.Tensor) -> np.ndarray:
    """A copy of values [g, rows, d] as an array [d, g, rows], in which a column's values lie side by side."""
    return values.permute(2, 0, 1).clone(memory_format=torch.contiguous_format).numpy()


def _rows(columns: np.ndarray) -> torch.Tensor:
    """The inverse of `_columns`."""
    return torch.from_numpy(columns).permute(1, 2, 0).contiguous()


def _pairs(values: torch.Tensor) -> np.ndarray:
    """values [g, d, d] as an array [d, d, g]."""
    return values.permute(1, 2, 0).contiguous().numpy()


def _spread_(rest: np.ndarray, factors: np.ndarray, changes: np.ndarray) -> None:
    """rest [e, g, rows] loses factors [b, e, g] times changes [b, g, rows], group by group.

    PyTorch multiplies here, so that NumPy starts no threads of its own beside PyTorch's.
    """
    for group in range(rest.shape[1] if len(rest) else 0):
        of, change = (torch.from_numpy(values) for values in (factors[..., group], changes[:, group]))
        torch.from_numpy(rest[:, group]).addmm_(of.T, change, alpha=-1)
