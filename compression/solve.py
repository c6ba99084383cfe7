"""The mathematics that layer-wise methods share: second moments, masked least squares, rounding against a Hessian.

A layer computes y = W x with x [d] one patch of its input. Over n patches with means removed, H = Σ x xᵀ / n [d, d] and
G = Σ y* xᵀ / n [out, d], where y* are the answers it should give. Up to a constant, the mean squared error of W is
tr(W H Wᵀ) - 2 tr(W Gᵀ). Everything here is batched over a layer's groups: H [g, d, d], G and W [g, out/g, d].
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from compression.grids import nearest_power

PATCHES = 16_384
"""Patches per layer that moments are averaged over."""

DAMP = 0.01
"""Ridge towards the given weights, as a share of H's mean diagonal."""

BLOCK = 64

ROUNDS, TOLERANCE = 60, 1e-11
"""Of conjugate gradients: how many at most, and the squared residual, relative to the right side, that is enough."""


@dataclass(frozen=True)
class Moments:
    """h [g, d, d], g [g, out/g, d], mean_x [g, d] and mean_y [out] of one layer's patches and target answers."""

    h: torch.Tensor
    g: torch.Tensor
    mean_x: torch.Tensor
    mean_y: torch.Tensor


def moments(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor], y: list[torch.Tensor]) -> Moments:
    """Moments of `layer`'s inputs x [n, …] and target answers y [n, …], in batches, both before any activation."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    drawn = [_patches(layer, a, b, PATCHES // len(x)) for a, b in zip(x, y, strict=True)]
    rows, answers = (torch.cat(parts) for parts in zip(*drawn, strict=True))  # [m, g, d], [m, out]
    mean_x, mean_y = rows.mean(0), answers.mean(0)
    rows = (rows - mean_x).transpose(0, 1)  # [g, m, d]
    answers = (answers - mean_y).unflatten(1, (groups, -1)).transpose(0, 1)  # [g, m, out/g]
    n = rows.shape[1]
    return Moments(rows.mT @ rows / n, answers.mT @ rows / n, mean_x, mean_y)


def grouped(layer: nn.Conv2d | nn.Linear, weight: torch.Tensor) -> torch.Tensor:
    """weight [out, …] as [g, out/g, d]."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def error(w: torch.Tensor, m: Moments) -> torch.Tensor:
    """tr(W H Wᵀ) - 2 tr(W Gᵀ) row by row: [g, out/g]; lower is better."""
    return (w * (w @ m.h - 2 * m.g)).sum(2)


def refit(w: torch.Tensor, keep: torch.Tensor | None, m: Moments) -> torch.Tensor:
    """Least squares over the kept weights, with a ridge towards w: (H + λI) w' = g + λw on each row's kept entries.

    w, keep [g, out/g, d]; entries that are not kept are zero. With keep=None one system serves all rows.
    """
    ridge = DAMP * m.h.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-10)  # [g, 1, 1]
    eye = torch.eye(w.shape[2])
    right = m.g + ridge * w
    if keep is None:
        return torch.cholesky_solve(right.mT, torch.linalg.cholesky(m.h + ridge * eye)).mT
    return _conjugate_gradients(w, keep.to(w.dtype), m.h, m.g + ridge * w, ridge)


def round_to(grid: "Grid", w: torch.Tensor, m: Moments, *, sweeps: int) -> torch.Tensor:
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


def best_scale(q: torch.Tensor, scale: torch.Tensor, m: Moments) -> torch.Tensor:
    """The scale [g, out/g] with the least error for the codes of q: scale · (q·g) / (q·H·q)."""
    factor = (q * m.g).sum(2) / (q * (q @ m.h)).sum(2).clamp_min(1e-20)
    return torch.where((factor > 0.5) & (factor < 2), scale * factor, scale)


def _conjugate_gradients(
    w: torch.Tensor, k: torch.Tensor, h: torch.Tensor, right: torch.Tensor, ridge: torch.Tensor
) -> torch.Tensor:
    """K (H + λI) K w' = K right for every row at once, from w on, with the diagonal as preconditioner.

    Each row has a mask k of its own, so a factorisation for each would cost d times as much as these products.
    """
    diagonal = h.diagonal(dim1=1, dim2=2)[:, None] + ridge  # [g, 1, d]
    x = w * k
    r = (right - x @ h - ridge * x) * k
    z = r / diagonal
    p, rz, least = z, (r * z).sum(2, keepdim=True), TOLERANCE * (right * k).square().sum(2).clamp_min(1e-20)
    for _ in range(ROUNDS):
        if (r.square().sum(2) <= least).all():
            break
        ap = (p @ h) * k + ridge * p
        step = rz / (p * ap).sum(2, keepdim=True).clamp_min(1e-30)
        x, r = x + step * p, r - step * ap
        z = r / diagonal
        rz, before = (r * z).sum(2, keepdim=True), rz
        p = z + rz / before.clamp_min(1e-30) * p
    return x


def _gptq(grid: Grid, w: torch.Tensor, m: Moments) -> torch.Tensor:
    damp = DAMP * m.h.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-10)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(m.h + damp * torch.eye(w.shape[2])))
    u = torch.linalg.cholesky(inverse, upper=True)  # [g, d, d]
    w, q = w.clone(), torch.empty_like(w)
    for begin in range(0, w.shape[2], BLOCK):
        end = min(begin + BLOCK, w.shape[2])
        errors = torch.empty_like(w[..., begin:end])
        for i in range(begin, end):
            q[..., i] = grid.round_column(w[..., i], i)
            errors[..., i - begin] = (w[..., i] - q[..., i]) / u[:, i, i, None]
            w[..., i:end] -= errors[..., i - begin, None] * u[:, None, i, i:end]
        w[..., end:] -= errors @ u[:, begin:end, end:]
    return q


def descend(grid: Grid, q: torch.Tensor, m: Moments) -> torch.Tensor:
    """One sweep over the columns of q [g, out/g, d], each rounded to its best point given all the others."""
    q = q.clone()
    residual = m.g - q @ m.h  # [g, out/g, d]
    diagonal = m.h.diagonal(dim1=1, dim2=2)[:, None].clamp_min(1e-10)  # [g, 1, d]
    for begin in range(0, q.shape[2], BLOCK):
        end = min(begin + BLOCK, q.shape[2])
        local, old = residual[..., begin:end].clone(), q[..., begin:end].clone()
        for i in range(begin, end):
            target = q[..., i] + local[..., i - begin] / diagonal[..., i]
            new = grid.round_column(target, i)
            if grid.keep is not None:
                new *= grid.keep[..., i]
            local -= (new - q[..., i])[..., None] * m.h[:, None, i, begin:end]
            q[..., i] = new
        residual -= (q[..., begin:end] - old) @ m.h[:, begin:end]
    return q


def _patches(
    layer: nn.Conv2d | nn.Linear, x: torch.Tensor, y: torch.Tensor, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """At most `limit` patches, all or drawn at random: inputs [m, g, d] and answers [m, out]."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        rows, answers = x.flatten(0, -2), y.flatten(0, -2)
        pick = torch.randperm(len(rows), generator=generator)[:limit]
        return rows[pick][:, None], answers[pick]
    (kh, kw), (dh, dw) = layer.kernel_size, layer.dilation
    windows = F.pad(x, _padding(layer)).unfold(2, (kh - 1) * dh + 1, layer.stride[0])
    windows = windows.unfold(3, (kw - 1) * dw + 1, layer.stride[1])[..., ::dh, ::dw]  # [n, c, rows, columns, kh, kw]
    n, _, height, width = windows.shape[:4]
    count = n * height * width
    pick = torch.arange(count) if count <= limit else torch.randint(count, (limit,), generator=generator)
    image, row, column = pick // (height * width), pick // width % height, pick % width
    chosen = windows[image, :, row, column]  # [m, c, kh, kw]
    return chosen.unflatten(1, (layer.groups, -1)).flatten(2), y[image, :, row, column]


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    if isinstance(layer.padding, str):
        if layer.padding == "valid":
            return (0, 0, 0, 0)
        both = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return (both[1] // 2, both[1] - both[1] // 2, both[0] // 2, both[0] - both[0] // 2)
    return (layer.padding[1],) * 2 + (layer.padding[0],) * 2
