"""Which grid a layer's weights get and which of its points they take: scale, groups, rounding.

Everything is batched as in `solvers.rounding`: w [g, out/g, d]. Grids are fitted to the layer's moments, so that what
counts is the error of its answers.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from compression.network.integer_grids import BYTE, GROUP_TOP, SATURATION_FREE, Kind, largest
from compression.solvers import clipping, moments, rounding
from compression.solvers.moments import Moments
from compression.solvers.rounding import Grid
from compression.steps import Quantize
from compression.techniques.quantization.adaround import adaptive

FINE = torch.linspace(0.35, 1.0, 14)


COARSE = torch.linspace(0.06, 0.9, 29)


POWERS = torch.linspace(0.5, 1.4, 19)
"""Shares of the largest magnitude that are tried as the end of a grid: many levels, at most three, powers of two."""


CHANNEL_SHARES = (0.7, 0.8, 0.9, 1.0, 1.1)
"""Tried as a channel's scale where groups have multiples of it, relative to what covers the widest group."""


PERCENTILE = 0.99
"""Share of a channel's weights that the percentile scale covers."""


LEAST_BINS, PER_BIN = 4, 32
"""Bins of a histogram for each level, and weights for each bin: distributions cannot be told apart by fewer."""


NOTHING_TO_GAIN = 7
"""From so many bits on, rounding to the nearest is as good as anything."""


@dataclass(frozen=True)
class WeightGrid:
    """A layer's grid, and its weights on it: points [g, out/g, d]."""

    grid: Grid
    kind: Kind
    points: torch.Tensor

    @property
    def step(self) -> torch.Tensor:
        """What one code is worth: [out]."""
        return self.grid.scale.flatten() / (2 if self.kind == "odd" else 1)

    @property
    def zero_point(self) -> torch.Tensor | None:
        """[out] on a shifted grid."""
        return -self.grid.low.flatten() if self.kind == "shifted" else None

    def multipliers(self, group: int) -> torch.Tensor | None:
        """[out, ⌈d/group⌉] where groups have scales of their own."""
        return None if self.grid.multipliers is None else self.grid.multipliers.flatten(0, 1)[:, ::group].contiguous()


def fit_weight_grid(
    w: torch.Tensor, keep: torch.Tensor | None, m: Moments, settings: Quantize, *, fast: bool = False
) -> WeightGrid:
    """The best grid that `settings` allow and its points for w; w already fitted, keep [g, out/g, d] or None.

    Where it is `fast`, points that second-order rounding has found are not gone over again.
    """
    tried = kinds(settings)
    if settings.granularity == "channel" and len(tried) > 1:
        return _fit_together(w, keep, m, settings, tried, fast)
    found = [_fit_kind(w, keep, m, settings, (kind,), fast) for kind in tried]
    fitted = [WeightGrid(grid, kind, q) for (grid, q), kind in zip(found, tried, strict=True)]
    return min(fitted, key=lambda f: float(moments.quadratic_loss(f.points, m).sum()))


def kinds(settings: Quantize) -> tuple[Kind, ...]:
    """The grids to choose between."""
    if settings.scheme == "linear":
        return ("odd",) if settings.bits == 1 else ("zero", "odd") if settings.bits <= 6 else ("zero",)
    only: dict[str, Kind] = {"asymmetric": "shifted", "logarithmic": "powers", "ternary": "zero", "binary": "odd"}
    return (only[settings.scheme],)


def _fit_together(
    w: torch.Tensor, keep: torch.Tensor | None, m: Moments, settings: Quantize, tried: tuple[Kind, ...],
    fast: bool,
) -> WeightGrid:  # fmt: skip
    """All kinds at once, as so many times more rows."""
    n, times = w.shape[1], len(tried)
    rows, keeps = torch.cat([w] * times, 1), None if keep is None else torch.cat([keep] * times, 1)
    grid, q = _fit_kind(rows, keeps, m.repeated(times), settings, tried, fast)
    parts = [slice(i * n, (i + 1) * n) for i in range(times)]
    best = min(range(times), key=lambda i: float(moments.quadratic_loss(q[:, parts[i]], m).sum()))
    return WeightGrid(grid.rows(parts[best]), tried[best], q[:, parts[best]])


def _fit_kind(
    w: torch.Tensor, keep: torch.Tensor | None, m: Moments, settings: Quantize, tried: tuple[Kind, ...],
    fast: bool,
) -> tuple[Grid, torch.Tensor]:  # fmt: skip
    weights = m.h.diagonal(dim1=1, dim2=2)[:, None]  # [g, 1, d]
    together = settings.granularity == "tensor"
    grid = _full_grid(w, keep, settings, tried, together)
    coarse = len(tried) == 1 and largest(settings.bits, tried[0]) == 1
    if settings.granularity == "group":
        grid = _with_groups(grid, w, weights, settings, tried[0])
    elif settings.scale == "mse" or coarse:
        shares = COARSE if coarse else POWERS if grid.powers else FINE
        grid = _least_squares(grid, w, weights, shares, together)
    return _rounded(grid, w, m, settings, fast)


def _full_grid(
    w: torch.Tensor, keep: torch.Tensor | None, settings: Quantize, tried: tuple[Kind, ...], together: bool
) -> Grid:
    """Rows whose grid ends where the scale method says, `w` holding the rows of each kind one after the other."""
    n = w.shape[1] // len(tried)
    made = [_ends(w[:, i * n : (i + 1) * n], settings, kind, together) for i, kind in enumerate(tried)]
    scale, low, top, offset = (torch.cat(parts, 1) for parts in zip(*made, strict=True))
    return Grid(scale, low, top, offset, keep, powers=tried == ("powers",))


def _ends(w: torch.Tensor, settings: Quantize, kind: Kind, together: bool) -> tuple[torch.Tensor, ...]:
    """scale, low, top and offset of each row: [g, rows]."""
    lowest, highest = (end.expand(w.shape[:2]) for end in _extent(w.reshape(1, 1, -1) if together else w, settings))
    steps = largest(settings.bits, kind) / (2 if kind == "odd" else 1)
    if kind == "shifted":
        scale = (highest - lowest).clamp_min(1e-12) / steps
        zero_point = (-lowest / scale).round().clamp(0, steps)
        return scale, -zero_point, steps - zero_point, torch.zeros_like(scale)
    top = torch.full_like(highest, steps)
    scale = torch.maximum(-lowest, highest).clamp_min(1e-12) / top
    return scale, -top, top, torch.full_like(top, 0.5 if kind == "odd" else 0.0)


def _extent(w: torch.Tensor, settings: Quantize) -> tuple[torch.Tensor, torch.Tensor]:
    """The range of each row that the scale method wants covered; it holds zero: [g, rows] twice."""
    if settings.scale == "percentile":
        ends = w.abs().quantile(PERCENTILE, dim=2)
        return torch.maximum(w.amin(2).clamp_max(0), -ends), torch.minimum(w.amax(2).clamp_min(0), ends)
    share = 1.0
    if settings.scale == "entropy":
        relative = w.abs() / w.abs().amax(2, keepdim=True).clamp_min(1e-12)
        levels = max(2, 2 ** (settings.bits - 1))
        bins = min(clipping.BINS, max(LEAST_BINS * levels, w.numel() // PER_BIN))
        share = clipping.entropy_share(relative.flatten().histc(bins, 0, 1), levels)
    return share * w.amin(2).clamp_max(0), share * w.amax(2).clamp_min(0)


def _least_squares(grid: Grid, w: torch.Tensor, weights: torch.Tensor, shares: torch.Tensor, together: bool) -> Grid:
    """The share of the grid's scale with the least squared error, each input weighted by its power [g, 1, d]."""
    tried = [grid.scaled(grid.scale * share) for share in shares]
    errors = torch.stack([(weights * (g.round(w) - w).square()).sum(2) for g in tried])  # [tried, g, rows]
    if together:
        errors = errors.sum((1, 2), keepdim=True).expand_as(errors)
    return grid.scaled(grid.scale * shares[errors.argmin(0)])


def _with_groups(grid: Grid, w: torch.Tensor, weights: torch.Tensor, settings: Quantize, kind: Kind) -> Grid:
    """Multipliers from 1 up for each group of inputs, and the channel's scale that goes with them best."""
    size, d = settings.group_size, w.shape[2]
    most = largest_multiplier(settings, kind)
    groups = F.pad(w, (0, -d % size)).unflatten(2, (-1, size))  # [g, rows, groups, size]
    count = groups.shape[2]
    power = F.pad(weights, (0, -d % size)).unflatten(2, (-1, size)).expand_as(groups)
    ends = torch.maximum(*(end.abs() for end in _extent(groups.flatten(1, 2), settings)))  # [g, rows·groups]
    top = _repeat(grid.top, count)
    rows = replace(
        grid, keep=None, low=_repeat(grid.low, count), top=top, offset=_repeat(grid.offset, count), scale=ends / top
    )
    shares = COARSE if largest(settings.bits, kind) == 1 else POWERS if grid.powers else FINE
    if settings.scale != "mse":
        shares = torch.ones(1)
    wanted = _least_squares(rows, groups.flatten(1, 2), power.flatten(1, 2), shares, False).scale
    wanted = wanted.unflatten(1, (-1, count)).clamp_min(1e-12)  # [g, rows, groups]
    tried = []
    for share in CHANNEL_SHARES:
        scale = wanted.amax(2) * share / most
        multipliers = (wanted / scale[..., None]).round().clamp(1, most)
        tried.append(replace(grid, scale=scale, multipliers=multipliers.repeat_interleave(size, 2)[..., :d]))
    errors = torch.stack([(weights * (g.round(w) - w).square()).sum(2) for g in tried])  # [tried, g, rows]
    best = errors.argmin(0)  # [g, rows]
    scales, multipliers = torch.stack([g.scale for g in tried]), torch.stack([g.multipliers for g in tried])  # type: ignore[misc]
    chosen = best[None, ..., None].expand(1, *multipliers.shape[1:])
    return replace(grid, scale=scales.gather(0, best[None])[0], multipliers=multipliers.gather(0, chosen)[0])


def _repeat(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows.repeat_interleave(count, 1)


def largest_multiplier(settings: Quantize, kind: Kind) -> int:
    """The largest multiplier of a group with which codes still fit the byte of an 8-bit kernel."""
    byte = SATURATION_FREE if settings.reduce_range == "on" else BYTE
    return max(1, min(GROUP_TOP, byte // largest(settings.bits, kind)))


def _rounded(grid: Grid, w: torch.Tensor, m: Moments, settings: Quantize, fast: bool) -> tuple[Grid, torch.Tensor]:
    bits, together = settings.bits, settings.granularity == "tensor"
    if settings.rounding == "nearest" or bits >= NOTHING_TO_GAIN:
        return grid, grid.round(w)
    if settings.rounding == "adaptive":
        return grid, adaptive(grid, w, m)
    again = bits <= (2 if fast and grid.keep is None else 4)
    q = rounding.round_to(grid, w, m, sweeps=int(again))
    for _ in range({1: 3, 2: 2, 3: 1}.get(bits, 0) if settings.scale == "mse" else 0):
        grid = grid.scaled(_best_scale(q, grid.scale, m, together))
        q = rounding.coordinate_descent(grid, grid.round(q), m)
    return grid, q


def _best_scale(q: torch.Tensor, scale: torch.Tensor, m: Moments, together: bool) -> torch.Tensor:
    if not together:
        return rounding.best_scale(q, scale, m)
    factor = (q * m.g).sum() / (q * (q @ m.h)).sum().clamp_min(1e-20)
    return scale * factor if 0.5 < float(factor) < 2 else scale
