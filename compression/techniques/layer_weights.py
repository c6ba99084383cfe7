"""What the techniques that solve for a layer's weights share."""

import torch
from torch import nn

from compression.host.cpu import saturates
from compression.network.parametrizations import Mask, find, original
from compression.solvers.moments import Moments
from compression.steps import Prune, Quantize


def narrow(settings: Quantize) -> bool:
    """Whether 8-bit kernels compute with the weights and must get no code beyond `grids.SATURATION_FREE`."""
    return settings.activation_bits == 8 and _reduced(settings)


def _reduced(settings: Quantize) -> bool:
    return settings.reduce_range == "on" or (settings.reduce_range == "auto" and saturates())


def _refits(layer: nn.Module, prune: Prune | None) -> bool:
    """Whether the layer has zeros that the weights which stay are to make up for."""
    mask = find(layer, Mask)
    return mask is not None and not bool(mask.keep.all()) and (prune is None or prune.refit)


def _store_(layer: nn.Conv2d | nn.Linear, w: torch.Tensor, m: Moments, *, corrected: bool = True) -> None:
    """Writes w [g, out/g, d] and, if `corrected`, the bias under which the answers have the right mean."""
    stored = original(layer)
    stored.copy_(w.reshape(stored.shape))
    if layer.bias is not None and corrected:
        layer.bias.copy_(m.mean_y - (w @ m.mean_x[..., None]).flatten())
