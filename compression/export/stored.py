"""A layer as it is written into a file: batch norm folded, weights as codes and scales or as floats.

Folding multiplies the scale of each output channel by |γ/σ| and puts the sign of γ into the codes: codes never change
magnitude, so batch-norm statistics can be re-estimated after quantization without rounding anything again.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from compression.parametrizations import Mask, WeightQuantizer, find, original, per_channel


@dataclass(frozen=True)
class StoredLayer:
    """values: int8 codes or float32 weights [out, …]; scale [out] float32 (None for floats); bias [out] float32."""

    values: np.ndarray
    scale: np.ndarray | None
    bias: np.ndarray
    bits: int

    @property
    def weights(self) -> np.ndarray:
        """The float weights that the file computes with."""
        if self.scale is None:
            return self.values
        return self.values * self.scale.reshape(-1, *[1] * (self.values.ndim - 1)).astype(np.float32)


@torch.no_grad()
def stored(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None = None) -> StoredLayer:
    """What `layer`, followed by `norm`, becomes in a file."""
    gain, shift = _affine(layer, norm)
    quantizer = find(layer, WeightQuantizer)
    if quantizer is None:
        weights = layer.weight * per_channel(gain, layer.weight)
        return StoredLayer(weights.float().numpy().copy(), None, shift.numpy(), 32)
    codes = quantizer.codes(_masked(layer)) * per_channel(gain.sign(), layer.weight)
    scale = quantizer.scale * gain.abs()
    scale = torch.where(gain == 0, torch.ones_like(scale), scale)
    return StoredLayer(codes.to(torch.int8).numpy(), half(scale), half(shift), quantizer.bits)


def half(values: torch.Tensor) -> np.ndarray:
    """float32 values that fit float16 exactly, as files store them; too large ones are kept at float16's ends."""
    return values.clamp(-65504, 65504).half().float().numpy()


def _masked(layer: nn.Module) -> torch.Tensor:
    mask = find(layer, Mask)
    return mask(original(layer)) if mask is not None else original(layer)


def _affine(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and shift per output channel: norm(layer(x)) = gain · (weight ∗ x) + shift."""
    bias = layer.bias if layer.bias is not None else torch.zeros(len(original(layer)))
    if norm is None:
        return torch.ones_like(bias), bias.detach().clone()
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return gain.detach(), (norm.bias + (bias - norm.running_mean) * gain).detach()
