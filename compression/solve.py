"""The mathematics that layer-wise methods share: second moments, masked least squares, rounding against a Hessian.

A layer computes y = W x with x [d] one patch of its input. Over n patches with means removed, H = Σ x xᵀ / n [d, d] and
G = Σ y* xᵀ / n [out, d], where y* are the answers it should give. Up to a constant, the mean squared error of W is
tr(W H Wᵀ) - 2 tr(W Gᵀ). Everything here is batched over a layer's groups: H [g, d, d], G and W [g, out/g, d].
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from compression import patches
from compression.errors import Unsupported
from compression.grids import nearest_power

DAMP = 0.01
"""Ridge towards the given weights, as a share of H's mean diagonal."""

LEAST = 1e-10
"""An input with a smaller share of H's mean diagonal says nothing about its weights."""

FAR = 30
"""Binary orders of magnitude: squares of numbers so far from one begin to leave those that 32 bits hold."""

BLOCK = 64

GRAM_COLUMNS = 192
"""Columns of XᵀX at once: only the half that is on and above the diagonal is computed."""

ROUNDS, QUICK_ROUNDS, TOLERANCE = 60, 12, 1e-9
"""Of conjugate gradients: how many at most, and the squared residual, relative to the right side, that is enough."""


@dataclass(frozen=True)
class Moments:
    """h [g, d, d], g [g, out/g, d], mean_x [g, d] and mean_y [out] of one layer's patches and target answers.

    var_y [out] is the variance of those answers, where somebody needs it. `found` keeps what is computed from h.
    """

    h: torch.Tensor
    g: torch.Tensor
    mean_x: torch.Tensor
    mean_y: torch.Tensor
    var_y: torch.Tensor | None = None
    found: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def repeated(self, times: int) -> "Moments":
        """The same for a layer in which all rows stand `times` times."""
        return replace(self, g=torch.cat([self.g] * times, 1))

    @property
    def ridge(self) -> torch.Tensor:
        """λ = DAMP · mean(diag H), [g, 1, 1]."""
        return DAMP * self.power.clamp_min(1e-20)

    @property
    def power(self) -> torch.Tensor:
        """mean(diag H), [g, 1, 1]."""
        return self.h.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]

    @property
    def unit(self) -> torch.Tensor:
        """The power of two nearest to `power` where that is far from one, else 1; squares of H by it fit 32 bits."""
        exponent = self.power.clamp(1e-20, 1e36).log2().round()
        return torch.where(exponent.abs() > FAR, exponent, 0.0).exp2()

    @property
    def root(self) -> torch.Tensor:
        """The upper U with UᵀU = (H + λI)⁻¹, [g, d, d]: what least squares and GPTQ work with. Computed once."""
        if "root" not in self.found:
            lower = cholesky(self.h + self.ridge * torch.eye(self.h.shape[2]))
            self.found["root"] = cholesky(torch.cholesky_inverse(lower), upper=True)
        return self.found["root"]


def cholesky(square: torch.Tensor, *, upper: bool = False) -> torch.Tensor:
    """The lower L [..., d, d] with L Lᵀ = `square` (or the upper U with UᵀU), positive definite but for rounding.

    Where it is not, as much as it takes is added to its diagonal. Raises `Unsupported` for numbers that are infinite.
    """
    factor, failed = torch.linalg.cholesky_ex(square, upper=upper)
    mean = square.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(1e-20)
    for share in (1e-6, 1e-4, 1e-2, 1.0):
        if not failed.any():
            return factor
        factor, failed = torch.linalg.cholesky_ex(square + share * mean * torch.eye(square.shape[-1]), upper=upper)
    if failed.any() or not factor.isfinite().all():
        raise Unsupported("Inside the network are numbers too large to be squared in 32 bits, above about 1e+18.")
    return factor


def moments(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor], y: list[torch.Tensor]) -> Moments:
    """Moments of `layer`'s inputs x [n, …] and target answers y [n, …], in batches, both before any activation."""
    return moments_of(layer, x, patches.answers_of(layer, y))


def moments_of(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor], answers: torch.Tensor) -> Moments:
    """The same from `patches.answers_of` the dense network, which depend on nothing else and can be kept."""
    limit = patches.wanted(layer) // len(x)
    rows = torch.cat([patches.drawn(layer, part, limit) for part in x], 1)  # [g, m, d]
    mean_x, mean_y = rows.mean(1), answers.mean(0)
    rows.sub_(mean_x[:, None])
    centred = answers - mean_y
    targets = centred.unflatten(1, (len(rows), -1)).transpose(0, 1)  # [g, m, out/g]
    n, order = rows.shape[1], patches.order(layer)
    h, g = _gram(rows) / n, targets.mT @ rows / n
    if order is not None:
        h, g, mean_x = h[:, order][:, :, order], g[..., order], mean_x[:, order]
    return Moments(h, g, mean_x, mean_y, centred.square().mean(0))


def thinned(
    layer: nn.Conv2d | nn.Linear, dense: Moments, inputs: torch.Tensor | None, outputs: torch.Tensor | None
) -> Moments:
    """Moments of `layer`, which has only some `inputs` [in] and `outputs` [out] (bool) of the one with `dense` moments.

    Mean answers are the layer's own: its batch norm has been told already by how much they moved. What does not fit
    stays `dense`.
    """
    h, g, mean_x, var_y, groups = dense.h, dense.g, dense.mean_x, dense.var_y, len(dense.h)
    if outputs is not None:
        g, var_y = g.flatten(0, 1)[outputs], None if var_y is None else var_y[outputs]
        if groups > 1:  # depthwise: a group goes with its output
            left = outputs.view(groups, -1).any(1)
            h, mean_x, groups = h[left], mean_x[left], int(left.sum())
        g = g.unflatten(0, (groups, -1))
    if inputs is not None and groups == 1:
        wide = inputs.repeat_interleave(h.shape[1] // len(inputs))
        h, g, mean_x = h[:, wide][:, :, wide], g[..., wide], mean_x[:, wide]
    w = grouped(layer, layer.weight.detach())
    if w.shape != g.shape:
        return dense
    means = (w @ mean_x[..., None]).flatten() + (0 if layer.bias is None else layer.bias.detach())
    return Moments(h, g, mean_x, means, var_y)


def grouped(layer: nn.Conv2d | nn.Linear, weight: torch.Tensor) -> torch.Tensor:
    """weight [out, …] as [g, out/g, d]."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def error(w: torch.Tensor, m: Moments) -> torch.Tensor:
    """tr(W H Wᵀ) - 2 tr(W Gᵀ) row by row: [g, out/g]; lower is better."""
    return (w * (w @ m.h - 2 * m.g)).sum(2)


def refit(w: torch.Tensor, keep: torch.Tensor | None, m: Moments, *, rounds: int = ROUNDS) -> torch.Tensor:
    """Least squares over the kept weights, with a ridge towards w: (H + λI) w' = g + λw on each row's kept entries.

    w, keep [g, out/g, d]; entries that are not kept are zero. With keep=None one system serves all rows.
    """
    right = m.g + m.ridge * w
    if keep is None:
        return right @ m.root.mT @ m.root
    unit = m.unit
    return _conjugate_gradients(w, keep.to(w.dtype), m.h / unit, right / unit, m.ridge / unit, rounds)


def round_to(grid: "Grid | Levels", w: torch.Tensor, m: Moments, *, sweeps: int) -> torch.Tensor:
    """Points of `grid` for w [g, out/g, d] with little error: GPTQ, then coordinate descent.

    GPTQ (Frantar et al. 2023) where nothing is masked: column by column, each rounding error is made up for by the
    columns still to come. Then `sweeps` times over all columns, each is rounded to its best value given all others
    (Behdin et al. 2023), which never increases the error.
    """
    q = _gptq(grid, w, m) if grid.keep is None else grid.round(w)
    for _ in range(sweeps):
        q = descend(grid, q, m)
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


def _conjugate_gradients(
    w: torch.Tensor, k: torch.Tensor, h: torch.Tensor, right: torch.Tensor, ridge: torch.Tensor, rounds: int
) -> torch.Tensor:
    """K (H + λI) K w' = K right for every row at once, from w on, with the diagonal as preconditioner.

    Each row has a mask k of its own, so a factorisation for each would cost d times as much as these products.
    """
    diagonal = h.diagonal(dim1=1, dim2=2)[:, None] + ridge  # [g, 1, d]
    x = w * k
    r = (right - x @ h - ridge * x) * k
    z = r / diagonal
    p, rz, least = z, (r * z).sum(2, keepdim=True), TOLERANCE * (right * k).square().sum(2).clamp_min(1e-20)
    for _ in range(rounds):
        if (r.square().sum(2) <= least).all():
            break
        ap = (p @ h) * k + ridge * p
        step = rz / (p * ap).sum(2, keepdim=True).clamp_min(1e-30)
        x, r = x + step * p, r - step * ap
        z = r / diagonal
        rz, before = (r * z).sum(2, keepdim=True), rz
        p = z + rz / before.clamp_min(1e-30) * p
    return x


def _gptq(grid: Grid | Levels, w: torch.Tensor, m: Moments) -> torch.Tensor:
    nearest = _nearest(grid)
    rest, u = _columns(w), _pairs(m.root / m.root.diagonal(dim1=1, dim2=2)[..., None])
    q, errors = np.empty_like(rest), np.empty_like(rest)
    for begin in range(0, len(rest), BLOCK):
        end = min(begin + BLOCK, len(rest))
        for i in range(begin, end):
            q[i] = nearest(rest[i], i)
            np.subtract(rest[i], q[i], out=errors[i])
            rest[i + 1 : end] -= u[i, i + 1 : end, :, None] * errors[i]
        _spread_(rest[end:], u[begin:end, end:], errors[begin:end])
    return _rows(q)


def descend(grid: Grid | Levels, q: torch.Tensor, m: Moments) -> torch.Tensor:
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


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """rowsᵀ · rows, [g, d, d], of rows [g, m, d]."""
    d = rows.shape[2]
    if d <= GRAM_COLUMNS:
        return rows.mT @ rows
    h = rows.new_empty(len(rows), d, d)
    for begin in range(0, d, GRAM_COLUMNS):
        end = begin + GRAM_COLUMNS
        h[:, begin:end, begin:] = rows[..., begin:end].mT @ rows[..., begin:]
        h[:, end:, begin:end] = h[:, begin:end, end:].mT
    return h
