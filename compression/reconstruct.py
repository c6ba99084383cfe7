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

from compression import codebooks, patches, solve
from compression.allotment import allot, narrow
from compression.calibration import Calibration, divergence, reestimate_batch_norm_
from compression.export.stored import folded_norm
from compression.fit import fit
from compression.graph import LAYERS, Batches, layers, module_of
from compression.parametrizations import Half, Mask, WeightQuantizer, attach, find, original
from compression.recipe import Recipe
from compression.solve import Moments
from compression.steps import Factorize, Prune, Quantize, Share

NOISE = 1e-7
"""Divergence, in nats, below which two networks answer alike: rounding alone gives a hundredth of it."""

Visit = Callable[[nn.Conv2d | nn.Linear, Moments], None]


@torch.no_grad()
def reconstruct_(graph: fx.GraphModule, dense: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    """Chooses the weights of `graph` for the recipe's masks and grids, and settles its batch norms.

    `dense` is the network to be answered like: same layers, nothing compressed.
    """
    best = recipe.quality == "best"
    changing = ("factorize", "prune", "share", "quantize") if best else ("prune", "share", "quantize")
    if not any(recipe.get(kind) for kind in changing):
        return  # fast: a network is its own reference once its layers have changed their shape
    prune, share, quantize = (recipe.get(kind) for kind in ("prune", "share", "quantize"))
    factorize, signs = recipe.get("factorize"), _signs(graph)
    own = allot(graph, quantize, calibration) if isinstance(quantize, Quantize) else {}
    settings = {layer: own.get(name) for name, layer in layers(graph).items()}
    before, norms, settle = _statistics(graph), _norms(graph), recipe.batch_norm != "keep"

    def visit(layer: nn.Conv2d | nn.Linear, m: Moments) -> None:
        if isinstance(factorize, Factorize) and factorize.refit and not _refits(layer, prune):  # type: ignore[arg-type]
            _store_(layer, solve.refit(solve.grouped(layer, original(layer)), None, m), m)
        if share is not None:
            share_layer_(layer, m, prune, share, quantize, signs[layer], hurried=not best)  # type: ignore[arg-type]
        else:
            solve_layer_(layer, m, prune, settings[layer], hurried=not best)  # type: ignore[arg-type]
        norm = norms.get(layer)
        if norm is not None and isinstance(quantize, Quantize) and quantize.bias_correction:
            before[norm] = before[norm][0] + _mean_error(layer, m), before[norm][1]
            if not settle:
                norm.running_mean = before[norm][0]

    if best:
        walk(graph, dense, calibration.images, visit, batch_norm=settle, targets=calibration.targets_of(dense))
    else:
        _visit_all_(graph, calibration, dense, visit, batch_norm=settle)
    if recipe.batch_norm == "auto":
        _keep_the_better_(graph, before, calibration)


@torch.no_grad()
def settle_batch_norm_(graph: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    """Statistics of batch norms measured anew, for a network whose layers have changed their shape."""
    if recipe.batch_norm == "keep":
        return
    before = _statistics(graph)
    reestimate_batch_norm_(graph, calibration.images)
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
            wanted = patches.answers_of(module, answers) if targets is None else targets[str(node.target)]
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


def _refits(layer: nn.Module, prune: Prune | None) -> bool:
    """Whether the layer has zeros that the weights which stay are to make up for."""
    mask = find(layer, Mask)
    return mask is not None and not bool(mask.keep.all()) and (prune is None or prune.refit)


@torch.no_grad()
def solve_layer_(
    layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, quantize: Quantize | None,
    *, hurried: bool = False,
) -> None:  # fmt: skip
    """Chooses the layer's stored weights, and its grid where bits are asked for, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    bits = quantize.bits if quantize else 32
    if bits == 32 and (mask is None or mask.keep.all()):
        return
    keep = solve.grouped(layer, mask.keep) if mask is not None else None
    w = solve.grouped(layer, stored)
    looks = quantize is not None and bits < 16 and quantize.rounding != "nearest"
    if _refits(layer, prune) or (looks and (prune is None or prune.refit)):
        w = solve.refit(w, keep, m, rounds=solve.QUICK_ROUNDS if hurried else solve.ROUNDS)
    elif keep is not None:
        w = w * keep
    if quantize is not None and bits < 16:
        w = _quantize_(layer, w, keep, m, quantize, mask, hurried)
    elif bits == 16:
        attach(layer, Half(len(stored)))
    _store_(layer, w, m, corrected=quantize is None or quantize.bias_correction)


@torch.no_grad()
def share_layer_(
    layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, share: Share, quantize: Quantize | None,
    sign: torch.Tensor, *, hurried: bool,
) -> None:  # fmt: skip
    """Chooses the layer's codebooks, and its stored weights among their entries, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    keep = solve.grouped(layer, mask.keep) if mask is not None else None
    w = solve.grouped(layer, stored)
    if _refits(layer, prune) or (share.assignment != "nearest" and (prune is None or prune.refit)):
        w = solve.refit(w, keep, m, rounds=solve.QUICK_ROUNDS if hurried else solve.ROUNDS)
    elif keep is not None:
        w = w * keep
    books, w = codebooks.fit(
        w, keep, m, share, sign, turns=0 if hurried else codebooks.TURNS,
        narrow=quantize is not None and narrow(quantize),
    )  # fmt: skip
    attach(layer, books.parametrization(mask.keep if mask else None))
    _store_(layer, w, m, corrected=quantize is None or quantize.bias_correction)


def _store_(layer: nn.Conv2d | nn.Linear, w: torch.Tensor, m: Moments, *, corrected: bool = True) -> None:
    """Writes w [g, out/g, d] and, if `corrected`, the bias under which the answers have the right mean."""
    stored = original(layer)
    stored.copy_(w.reshape(stored.shape))
    if layer.bias is not None and corrected:
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


def _quantize_(
    layer: nn.Module, w: torch.Tensor, keep: torch.Tensor | None, m: Moments, quantize: Quantize, mask: Mask | None,
    hurried: bool,
) -> torch.Tensor:  # fmt: skip
    """Puts w [g, out/g, d] on the best grid, which becomes the layer's; returns its points."""
    found = fit(w, keep, m, quantize, hurried=hurried)
    quantizer = WeightQuantizer(
        found.step, quantize.bits, kind=found.kind, keep=mask.keep if mask else None, zero_point=found.zero_point,
        multipliers=found.multipliers(quantize.group_size), group=quantize.group_size,
        together=quantize.granularity == "tensor",
    )  # fmt: skip
    attach(layer, quantizer)
    return found.points


def _norms(graph: fx.GraphModule) -> dict[nn.Module, nn.BatchNorm2d]:
    """The batch norm that is folded into each layer which has one."""
    found = {module_of(graph, node): folded_norm(graph, node) for node in graph.graph.nodes}
    return {layer: norm for layer, norm in found.items() if layer is not None and norm is not None}


def _mean_error(layer: nn.Conv2d | nn.Linear, m: Moments) -> torch.Tensor:
    """By how much the layer's mean answers differ from those it should give (Nagel et al. 2019, §4.2): [out]."""
    means = (solve.grouped(layer, layer.weight) @ m.mean_x[..., None]).flatten()
    return means + (0 if layer.bias is None else layer.bias) - m.mean_y


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
    """The norm's statistics become those of x [n, C, H, W], in batches; a single value of a channel has none."""
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()  # type: ignore[union-attr]
    several = [part for part in x if part.numel() > part.shape[1]]
    for number, part in enumerate(several, 1):
        F.batch_norm(part, mean, variance, training=True, momentum=1 / number)
    norm.running_mean, norm.running_var = mean, variance


def _is_folded(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether batch norm `node` stands directly behind a convolution."""
    return folded_norm(graph, node.args[0]) is module_of(graph, node)  # type: ignore[arg-type]


def _statistics(graph: nn.Module) -> dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]:
    norms = [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    return {m: (m.running_mean.clone(), m.running_var.clone()) for m in norms}  # type: ignore[union-attr]


def _keep_the_better_(
    graph: fx.GraphModule, before: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]], calibration: Calibration
) -> None:
    """Batch-norm statistics `before` or those of now: whichever moves the answers on held-out images less."""
    if not before:
        return
    after, distance = _statistics(graph), divergence(graph, calibration)
    _restore_(before)
    if divergence(graph, calibration) > distance + NOISE:
        _restore_(after)


def _restore_(statistics: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]) -> None:
    for norm, (mean, variance) in statistics.items():
        norm.running_mean, norm.running_var = mean, variance
