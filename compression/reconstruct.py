"""Layer by layer, the weights that make the compressed network answer like the dense one.

Techniques decide where weights may lie - under a mask, on a grid; this decides which values they take there, by least
squares and second-order rounding (`compression.solve`). *best* walks through both networks side by side and fits each
layer on the compressed network's own inputs to the dense network's answers; *fast* uses the dense network's moments,
collected once.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import fx, nn

from compression import codebooks, solve
from compression.calibration import Calibration, divergence, reestimate_batch_norm_
from compression.export.stored import folded_norm
from compression.graph import LAYERS, Batches, module_of
from compression.grids import Kind
from compression.parametrizations import Mask, WeightQuantizer, attach, find, original
from compression.recipe import Recipe
from compression.solve import Grid, Moments
from compression.steps import Prune, Quantize, Share

SHRINKS = torch.linspace(0.35, 1.0, 14)
"""Shares of the largest magnitude that are tried as the end of a grid."""

Visit = Callable[[nn.Conv2d | nn.Linear, Moments], None]


@torch.no_grad()
def reconstruct_(graph: fx.GraphModule, dense: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    """Chooses the weights of `graph` for the recipe's masks and grids, and settles its batch norms.

    `dense` is the network to be answered like: same layers, nothing compressed.
    """
    if not recipe.steps:
        return
    prune, share, quantize = (recipe.get(kind) for kind in ("prune", "share", "quantize"))
    signs = _signs(graph)

    def visit(layer: nn.Conv2d | nn.Linear, m: Moments) -> None:
        if share is not None:
            share_layer_(layer, m, prune, share, signs[layer])  # type: ignore[arg-type]
        else:
            solve_layer_(layer, m, prune, quantize)  # type: ignore[arg-type]

    before = _statistics(graph)
    settle = recipe.batch_norm != "keep"
    if recipe.quality == "best":
        walk(graph, dense, calibration.images, visit, batch_norm=settle, targets=calibration.targets_of(dense))
    else:
        _visit_all_(graph, calibration, dense, visit, batch_norm=settle)
    if recipe.batch_norm == "auto":
        _keep_the_better_(graph, before, calibration)


@torch.no_grad()
def walk(
    graph: fx.GraphModule,
    dense: fx.GraphModule,
    images: torch.Tensor,
    visit: Visit,
    *,
    batch_norm: bool,
    targets: dict[str, torch.Tensor] | None = None,
) -> None:
    """Runs `graph` node by node on `images` [n, C, H, W]; before a layer runs, `visit` may change it.

    `targets` are the dense network's answers (`Calibration.targets`); without them it runs beside. With batch_norm, the
    statistics of each batch norm of `graph` are settled on the way.
    """
    ours, theirs = Batches(graph, images), Batches(dense, images)
    for node, their_node in zip(ours.nodes, theirs.nodes, strict=True):
        module, answers = module_of(graph, node), theirs.run(their_node) if targets is None else []
        if isinstance(module, LAYERS):
            wanted = solve.answers_of(module, answers) if targets is None else targets[str(node.target)]
            m = solve.moments_of(module, ours.read(node), wanted)
            visit(module, m)
            if batch_norm:
                _match_statistics_(folded_norm(graph, node), module, m)
        if batch_norm and isinstance(module, nn.BatchNorm2d) and not _is_folded(graph, node):
            _measure_statistics_(module, ours.read(node))
        ours.run(node)


def _visit_all_(
    graph: fx.GraphModule, calibration: Calibration, dense: fx.GraphModule, visit: Visit, *, batch_norm: bool
) -> None:
    """Each layer on the moments of the dense network."""
    known = calibration.moments(dense)
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if isinstance(layer, LAYERS):
            visit(layer, known[str(node.target)])
            if batch_norm:
                _match_statistics_(folded_norm(graph, node), layer, known[str(node.target)])
    if batch_norm and any(
        isinstance(module_of(graph, n), nn.BatchNorm2d) and not _is_folded(graph, n) for n in graph.graph.nodes
    ):
        reestimate_batch_norm_(graph, calibration.images)


@torch.no_grad()
def solve_layer_(layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, quantize: Quantize | None) -> None:
    """Chooses the layer's stored weights, and its grid where bits are asked for, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    bits = quantize.weight_bits if quantize else 32
    if bits == 32 and (mask is None or mask.keep.all()):  # type: ignore[operator]
        return
    keep = solve.grouped(layer, mask.keep) if mask is not None else None  # type: ignore[arg-type]
    w = solve.grouped(layer, stored)
    data_free = quantize is not None and quantize.rounding == "nearest"
    if not data_free and (prune is None or prune.refit):
        w = solve.refit(w, keep, m)
    elif keep is not None:
        w = w * keep
    if quantize is not None and bits < 32:
        grid, zero, w = _fit_grid(w, keep, m, quantize)
        step = grid.scale.flatten() if zero else grid.scale.flatten() / 2
        kind: Kind = "zero" if zero else "odd"
        attach(layer, WeightQuantizer(step, bits, kind=kind, keep=mask.keep if mask else None))  # type: ignore[arg-type]
    _store_(layer, w, m)


@torch.no_grad()
def share_layer_(
    layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, share: Share, sign: torch.Tensor
) -> None:
    """Chooses the layer's codebooks, and its stored weights among their entries, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    keep = solve.grouped(layer, mask.keep) if mask is not None else None  # type: ignore[arg-type]
    w = solve.grouped(layer, stored)
    if share.assignment != "nearest" and (prune is None or prune.refit):
        w = solve.refit(w, keep, m)
    elif keep is not None:
        w = w * keep
    books, w = codebooks.fit(w, keep, m, share, sign)
    attach(layer, books.parametrization(mask.keep if mask else None))  # type: ignore[arg-type]
    _store_(layer, w, m)


def _store_(layer: nn.Conv2d | nn.Linear, w: torch.Tensor, m: Moments) -> None:
    """Writes w [g, out/g, d], and the bias under which the answers have the right mean."""
    stored = original(layer)
    stored.copy_(w.reshape(stored.shape))
    if layer.bias is not None:
        layer.bias.copy_(m.mean_y - (w @ m.mean_x[..., None]).flatten())


def _signs(graph: fx.GraphModule) -> dict[nn.Module, torch.Tensor]:
    """For each layer, -1 for the output channels that a batch norm turns round, else 1: [out]."""
    found: dict[nn.Module, torch.Tensor] = {}
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if isinstance(layer, LAYERS):
            norm = folded_norm(graph, node)
            out = original(layer).new_ones(len(original(layer)))
            found[layer] = out if norm is None else torch.where(norm.weight < 0, -out, out)
    return found


def _fit_grid(
    w: torch.Tensor, keep: torch.Tensor | None, m: Moments, quantize: Quantize
) -> tuple[Grid, bool, torch.Tensor]:
    """The better of the grids with and without zero as a level, whether it has zero, and its points for w.

    Both are fitted at once, as twice as many rows.
    """
    n, kinds = w.shape[1], (True, False) if quantize.weight_bits <= 6 else (True,)
    rows, keeps = torch.cat([w] * len(kinds), 1), None if keep is None else torch.cat([keep] * len(kinds), 1)
    grid, q = _fit_scale(rows, _full_grid(w, quantize.weight_bits, kinds, keeps), m.repeated(len(kinds)), quantize)
    parts = [slice(i * n, (i + 1) * n) for i in range(len(kinds))]
    best = min(range(len(kinds)), key=lambda i: float(solve.error(q[:, parts[i]], m).sum()))
    return grid.rows(parts[best]), kinds[best], q[:, parts[best]]


def _fit_scale(w: torch.Tensor, grid: Grid, m: Moments, quantize: Quantize) -> tuple[Grid, torch.Tensor]:
    if quantize.scale == "mse":
        weights = m.h.diagonal(dim1=1, dim2=2)[:, None]  # [g, 1, d]
        tried = [grid.scaled(grid.scale * shrink) for shrink in SHRINKS]
        errors = torch.stack([(weights * (g.round(w) - w).square()).sum(2) for g in tried])  # [tried, g, rows]
        grid = grid.scaled(grid.scale * SHRINKS[errors.argmin(0)])
    if quantize.rounding == "nearest" or quantize.weight_bits >= 7:  # there is nothing left to gain at 7 bits
        return grid, grid.round(w)
    q = solve.round_to(grid, w, m, sweeps=1 if quantize.weight_bits <= 4 else 0)
    for _ in range({2: 2, 3: 1}.get(quantize.weight_bits, 0) if quantize.scale == "mse" else 0):
        grid = grid.scaled(solve.best_scale(q, grid.scale, m))
        q = solve.descend(grid, grid.round(q), m)
    return grid, q


def _full_grid(w: torch.Tensor, bits: int, kinds: tuple[bool, ...], keep: torch.Tensor | None) -> Grid:
    """For each kind, rows whose largest magnitude is the grid's end; w [g, out/g, d]."""
    ends = w.abs().amax(2).clamp_min(1e-12)  # [g, out/g]
    tops = [torch.full_like(ends, 2 ** (bits - 1) - (1.0 if zero else 0.5)) for zero in kinds]
    offsets = [torch.full_like(ends, 0.0 if zero else 0.5) for zero in kinds]
    low, top, offset = (torch.cat(parts, 1) for parts in ([-top for top in tops], tops, offsets))
    return Grid(torch.cat([ends / top for top in tops], 1), low, top, offset, keep)


def _match_statistics_(norm: nn.BatchNorm2d | None, layer: nn.Conv2d | nn.Linear, m: Moments) -> None:
    """Statistics under which what `norm` makes of the layer's answers has the mean and variance that it had before.

    Both follow from the moments: the mean is W·E[x] + b and the variance of a row is w H wᵀ. They are compared with
    those of the target answers at the same places, so that it hardly matters which places were drawn.
    """
    if norm is None or m.var_y is None:
        return
    w = solve.grouped(layer, layer.weight)
    mean = (w @ m.mean_x[..., None]).flatten() + (0 if layer.bias is None else layer.bias)
    share = ((w * (w @ m.h)).sum(2).flatten() / m.var_y.clamp_min(1e-12)).clamp(1e-4, 1e4)
    norm.running_mean = mean - (m.mean_y - norm.running_mean) * share.sqrt()  # type: ignore[operator]
    norm.running_var = ((norm.running_var + norm.eps) * share - norm.eps).clamp_min(0)  # type: ignore[operator]


def _measure_statistics_(norm: nn.BatchNorm2d, x: list[torch.Tensor]) -> None:
    """The norm's statistics become those of x [n, C, H, W], in batches."""
    mean, variance = torch.zeros_like(norm.running_mean), torch.ones_like(norm.running_var)  # type: ignore[arg-type]
    for number, part in enumerate(x, 1):
        F.batch_norm(part, mean, variance, training=True, momentum=1 / number)
    norm.running_mean, norm.running_var = mean, variance


def _is_folded(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether batch norm `node` stands directly behind a convolution."""
    return folded_norm(graph, node.args[0]) is module_of(graph, node)  # type: ignore[arg-type]


def _statistics(graph: nn.Module) -> dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]:
    return {m: (m.running_mean, m.running_var) for m in graph.modules() if isinstance(m, nn.BatchNorm2d)}  # type: ignore[misc]


def _keep_the_better_(
    graph: fx.GraphModule, before: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]], calibration: Calibration
) -> None:
    """Batch-norm statistics `before` or those of now: whichever moves the answers on held-out images less."""
    if not before:
        return
    after, distance = _statistics(graph), divergence(graph, calibration)
    _restore_(before)
    if divergence(graph, calibration) >= distance:
        _restore_(after)


def _restore_(statistics: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]) -> None:
    for norm, (mean, variance) in statistics.items():
        norm.running_mean, norm.running_var = mean, variance
