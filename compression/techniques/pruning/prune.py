"""Pruning of single weights: which of them become zero.

The values of the weights that stay are fitted anew where the layers are solved (`refit_kept_weights_`).
"""

from collections.abc import Callable

import torch
from torch import fx

from compression.calibration import Calibration
from compression.network.graph import layers
from compression.network.parametrizations import Mask, attach, find, original
from compression.records.measurement import Reached
from compression.steps import Prune
from compression.techniques.exclusion import excluded_layers
from compression.techniques.layer_weights import LayerFit
from compression.techniques.pruning import importance
from compression.techniques.pruning.joint_masks import joint_masks
from compression.techniques.pruning.patterns import Scores, kept

IMPORTANCE: dict[str, Callable[[fx.GraphModule, Calibration], Scores]] = {
    "magnitude": importance.magnitude,
    "activation": importance.activation,
    "taylor": importance.taylor,
    "second-order": importance.second_order,
}
"""Criteria that look at each weight by itself; 'error' chooses all masks together."""


@torch.no_grad()
def prune_(graph: fx.GraphModule, settings: Prune, calibration: Calibration) -> None:
    """Masks the least important weights of every layer that is not excluded, as `patterns.kept` says how many."""
    out, found = excluded_layers(graph, settings), layers(graph)
    keeps = {name: torch.ones_like(original(found[name]), dtype=torch.bool) for name in out}
    if len(out) == len(found):
        pass
    elif settings.criterion == "error":
        keeps |= joint_masks(graph, settings, calibration, out)
    else:
        scores = IMPORTANCE[settings.criterion](graph, calibration)
        keeps |= kept({name: score for name, score in scores.items() if name not in out}, settings)
    for name, layer in found.items():
        attach(layer, Mask(keeps[name]))


def refit_kept_weights_(fit: LayerFit, _settings: Prune) -> None:
    """The weights that the layer's mask leaves make up for the others, where the settings let them change."""
    if fit.has_zeros:
        fit.mask_and_refit(looks=False)
        fit.choose(fit.w)


def prune_reached(graph: fx.GraphModule, settings: Prune) -> Reached:
    """The share of the weights asked for, None where the settings name none, and the share that is zero.

    Weights are those of layers that are not excluded.
    """
    named, out = settings.by == "sparsity" and ":" not in settings.pattern, excluded_layers(graph, settings)
    sizes = {layer: original(layer).numel() for name, layer in layers(graph).items() if name not in out}
    zeros = sum(_sparsity(layer) * size for layer, size in sizes.items())
    return Reached(settings.kind, "weights", settings.sparsity if named and sizes else None,
                   zeros / max(1, sum(sizes.values())))  # fmt: skip


def _sparsity(layer: torch.nn.Module) -> float:
    mask = find(layer, Mask)
    return mask.sparsity if mask is not None else 0.0
