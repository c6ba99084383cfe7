"""Layer by layer, the weights that make the compressed network answer like the dense one.

Each technique of a recipe that solves layers chooses, in turn, the values of one layer's weights (`Technique`), by
least squares and second-order rounding (`solvers`); this walks from layer to layer and settles batch norms. *best*
walks through both networks side by side and fits each layer on the compressed network's own inputs to the dense
network's answers; *fast* uses the dense network's moments, collected once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from compression.calibration import Calibration
from compression.calibration.batch_norm import _keep_the_better_, _statistics, reestimate_batch_norm_
from compression.host.interruption import look
from compression.network.batches import Batches, plan
from compression.network.graph import LAYERS, folded_norm, layers, module_of
from compression.recipe import Recipe
from compression.solvers import moments, patches
from compression.solvers.moments import Moments
from compression.steps import Step
from compression.techniques import Technique, techniques_of
from compression.techniques.exclusion import excluded_layers
from compression.techniques.layer_weights import LayerFit

Visit = Callable[[nn.Conv2d | nn.Linear, Moments], None]


@torch.no_grad()
def reconstruct_(graph: fx.GraphModule, dense: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    """Chooses the weights of `graph` for the recipe's masks and grids, and settles its batch norms.

    `dense` is the network to be answered like: same layers, nothing compressed.
    """
    best = recipe.quality == "best"
    techniques = techniques_of(recipe)
    if not any(technique.solve_layer_ and (best or not technique.reshapes) for technique, _ in techniques):
        return  # fast: a network is its own reference once its layers have changed their shape
    solvers = [
        (technique.solve_layer_, _by_layer(technique, step, graph, calibration))
        for technique, step in techniques if technique.solve_layer_
    ]  # fmt: skip
    before, norms, settle = _statistics(graph), _norms(graph), recipe.batch_norm != "keep"

    def visit(layer: nn.Conv2d | nn.Linear, m: Moments) -> None:
        look()
        fit = LayerFit(layer, m, norms.get(layer), recipe, fast=not best)
        for solve_layer_, settings in solvers:
            if settings[layer] is not None:
                solve_layer_(fit, settings[layer])
        fit.store_()
        if fit.norm is not None and fit.corrects_norm:
            before[fit.norm] = before[fit.norm][0] + _mean_error(layer, m), before[fit.norm][1]
            if not settle:
                fit.norm.running_mean = before[fit.norm][0]

    if best:
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
    targets: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Runs `graph` node by node on `images` [n, C, H, W]; before a layer runs, `visit` may change it.

    `targets` are the dense network's answers (`Calibration.targets`); without them it runs beside. With batch_norm, the
    statistics of each batch norm of `graph` are settled on the way.
    """
    by = plan(dense, images, graphs=1 if targets is not None else 2)  # that of the targets, where they are known
    if targets is None:
        by = by.beside(plan(graph, images, graphs=2))
    ours, theirs = Batches(graph, images, by), Batches(dense, images, by)
    for node, their_node in zip(ours.nodes, theirs.nodes, strict=True):
        module, answers = module_of(graph, node), theirs.run(their_node) if targets is None else []
        if isinstance(module, LAYERS):
            wanted = patches.answers_of(module, answers) if targets is None else targets[str(node.target)]
            with parametrize.cached():
                m = moments.moments_of(module, ours.read(node), wanted)
            visit(module, m)
            if batch_norm:
                _match_statistics_(folded_norm(graph, node), module, m)
        if batch_norm and isinstance(module, nn.BatchNorm2d) and not _is_folded(graph, node):
            _measure_statistics_(module, ours.read(node))
        with parametrize.cached():
            ours.run(node)


def _visit_all_(
    graph: fx.GraphModule, calibration: Calibration, dense: fx.GraphModule, visit: Visit, *, batch_norm: bool
) -> None:
    """Each layer on the moments of the dense network."""
    known = calibration.moments(dense)
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if isinstance(layer, LAYERS):
            moments = known[str(node.target)]
            visit(layer, moments)
            if batch_norm:
                _match_statistics_(folded_norm(graph, node), layer, moments)
    if batch_norm and any(
        isinstance(module_of(graph, n), nn.BatchNorm2d) and not _is_folded(graph, n) for n in graph.graph.nodes
    ):
        reestimate_batch_norm_(graph, calibration.images)


def _by_layer(
    technique: Technique, step: Step, graph: fx.GraphModule, calibration: Calibration
) -> dict[nn.Module, Any]:
    """The settings of each layer: its own where the technique has such, else the step's; None where it is excluded."""
    out = excluded_layers(graph, step)
    own = technique.of_layers(graph, step, calibration) if technique.of_layers else {}
    return {layer: None if name in out else own.get(name, step) for name, layer in layers(graph).items()}


def _norms(graph: fx.GraphModule) -> dict[nn.Module, nn.BatchNorm2d]:
    """The batch norm that is folded into each layer which has one."""
    found = {module_of(graph, node): folded_norm(graph, node) for node in graph.graph.nodes}
    return {layer: norm for layer, norm in found.items() if layer is not None and norm is not None}


def _mean_error(layer: nn.Conv2d | nn.Linear, m: Moments) -> torch.Tensor:
    """By how much the layer's mean answers differ from those it should give (Nagel et al. 2019, §4.2): [out]."""
    means = (moments.grouped(layer, layer.weight) @ m.mean_x[..., None]).flatten()
    return means + (0 if layer.bias is None else layer.bias) - m.mean_y


def _match_statistics_(norm: nn.BatchNorm2d | None, layer: nn.Conv2d | nn.Linear, m: Moments) -> None:
    """Statistics under which what `norm` makes of the layer's answers has the mean and variance that it had before.

    Both follow from the moments: the mean is W·E[x] + b and the variance of a row is w H wᵀ. They are compared with
    those of the target answers at the same places, so that it hardly matters which places were drawn.
    """
    if norm is None or m.var_y is None:
        return
    w = moments.grouped(layer, layer.weight)
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
