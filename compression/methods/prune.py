"""Unstructured pruning: the weights of least magnitude in the whole network become zero (Han et al. 2015)."""

import torch
from torch import fx

from compression.calibration import Calibration
from compression.graph import layers
from compression.parametrizations import Mask, attach, original
from compression.steps import Prune


@torch.no_grad()
def prune_(graph: fx.GraphModule, settings: Prune, calibration: Calibration) -> None:
    """Masks exactly round(sparsity · n) of the network's n weights, the smallest by |w| over all layers together."""
    found = layers(graph)
    magnitudes = torch.cat([original(layer).abs().flatten() for layer in found.values()])  # [n]
    keep = torch.ones_like(magnitudes, dtype=torch.bool)
    keep[magnitudes.argsort(stable=True)[: round(settings.sparsity * len(magnitudes))]] = False
    for layer, kept in zip(found.values(), keep.split([original(m).numel() for m in found.values()]), strict=True):
        attach(layer, Mask(kept.reshape(original(layer).shape)))
