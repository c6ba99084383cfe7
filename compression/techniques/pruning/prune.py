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
    """Masks the least important weights of every layer, as `sparsity.patterns.kept` says how many."""
    if settings.criterion == "error":
        keeps = joint_masks(graph, settings, calibration)
    else:
        keeps = kept(IMPORTANCE[settings.criterion](graph, calibration), settings)
    for name, layer in layers(graph).items():
        attach(layer, Mask(keeps[name]))


def refit_kept_weights_(fit: LayerFit, _settings: Prune) -> None:
    """The weights that the layer's mask leaves make up for the others, where the settings let them change."""
    if fit.has_zeros:
        fit.mask_and_refit(looks=False)
        fit.choose(fit.w)


def prune_reached(graph: fx.GraphModule, settings: Prune) -> Reached:
    """The share of the weights asked for, None where the settings name none, and the share that is zero."""
    named = settings.by == "sparsity" and ":" not in settings.pattern
    sizes = {layer: original(layer).numel() for layer in layers(graph).values()}
    zeros = sum(_sparsity(layer) * size for layer, size in sizes.items())
    return Reached(settings.kind, "weights", settings.sparsity if named else None, zeros / sum(sizes.values()))


def _sparsity(layer: torch.nn.Module) -> float:
    mask = find(layer, Mask)
    return mask.sparsity if mask is not None else 0.0
