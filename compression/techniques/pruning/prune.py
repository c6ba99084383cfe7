"""Pruning of single weights: which of them become zero.

The values of the weights that stay are fitted anew by `compression.techniques.reconstruction`.
"""

from collections.abc import Callable

import torch
from torch import fx

from compression.calibration import Calibration
from compression.network.graph import layers
from compression.network.parametrizations import Mask, attach
from compression.steps import Prune
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
