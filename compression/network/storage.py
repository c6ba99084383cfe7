"""From a layer to what a file stores of it, and back: torch computes with the numbers that the file will have.

Folding multiplies the scale of each output channel by |γ/σ| and puts the sign of γ into the codes: codes never change
magnitude, so batch-norm statistics can be re-estimated after quantization without rounding anything again.
"""

import torch
from torch import fx, nn

from compression.network.graph import LAYERS, folded_norm, gain_of, module_of
from compression.network.parametrizations import Mask, Values, find, original, per_channel
from compression.network.stored_layer import StoredLayer


@torch.no_grad()
def stored(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None = None) -> StoredLayer:
    """What `layer`, followed by `norm`, becomes in a file."""
    (gain, shift), values = _affine(layer, norm), find(layer, Values)
    if values is not None:
        return values.stored(_masked(layer), gain, shift)
    weights = (layer.weight * per_channel(gain, layer.weight)).float()
    return StoredLayer(weights.numpy().copy(), None, shift.numpy(), 32)


@torch.no_grad()
def settle_scales_(graph: fx.GraphModule) -> None:
    """Rounds scales and biases of layers whose values are decided to what a file stores."""
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if not isinstance(layer, LAYERS) or (values := find(layer, Values)) is None:
            continue
        norm = folded_norm(graph, node)
        gain, shift = _affine(layer, norm)
        exact = values.settle_(_masked(layer), gain, shift)
        owner = norm if norm is not None else layer
        if exact.bits < 32 and owner.bias is not None:
            owner.bias += torch.from_numpy(exact.bias) - shift


def _masked(layer: nn.Module) -> torch.Tensor:
    mask = find(layer, Mask)
    return mask(original(layer)) if mask is not None else original(layer)


def _affine(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and shift per output channel: norm(layer(x)) = gain · (weight ∗ x) + shift."""
    bias = layer.bias if layer.bias is not None else torch.zeros(len(original(layer)))
    if norm is None:
        return torch.ones_like(bias), bias.detach().clone()
    assert norm.running_mean is not None
    gain = gain_of(norm)
    return gain.detach(), (norm.bias + (bias - norm.running_mean) * gain).detach()
