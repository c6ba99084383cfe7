"""A layer as it is written into a file: batch norm folded, weights as codes and scales or as floats.

Folding multiplies the scale of each output channel by |γ/σ| and puts the sign of γ into the codes: codes never change
magnitude, so batch-norm statistics can be re-estimated after quantization without rounding anything again.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx, nn

from compression.export import pack
from compression.graph import LAYERS, batch_norm_after, module_of
from compression.parametrizations import Mask, WeightQuantizer, find, original, per_channel

HALF_LEAST, HALF_LOWEST, HALF_HIGHEST = 2.0**-24, 2.0**-14, 65504.0
"""Smallest, smallest normal and largest number of float16."""

ACCUMULATOR = np.float32(2**30)


@dataclass(frozen=True)
class StoredLayer:
    """values: int8 codes or float32 weights [out, …]; bias [out] float32.

    scale [out] float32 is the worth of one step of the codes as files decode them, `pack.gain(bits)` times larger than
    here; None for floats.
    """

    values: np.ndarray
    scale: np.ndarray | None
    bias: np.ndarray
    bits: int
    zero: bool = True

    def with_bias_in_32_bits(self, input_scale: np.ndarray) -> "StoredLayer":
        """The same layer with scales at least so large that the bias fits the integer kernel's 32-bit accumulator.

        It changes only channels whose weights are next to nothing beside their bias.
        """
        assert self.scale is not None
        least = np.abs(self.bias) / (input_scale * ACCUMULATOR)
        return self if (self.scale >= least).all() else replace(self, scale=np.maximum(self.scale, least * 1.001))


@torch.no_grad()
def stored(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None = None) -> StoredLayer:
    """What `layer`, followed by `norm`, becomes in a file."""
    gain, shift = _affine(layer, norm)
    quantizer = find(layer, WeightQuantizer)
    if quantizer is None:
        weights = layer.weight * per_channel(gain, layer.weight)
        return StoredLayer(weights.float().numpy().copy(), None, shift.numpy(), 32)
    codes = quantizer.codes(_masked(layer)) * per_channel(torch.where(gain < 0, -1.0, 1.0), layer.weight)
    scale = quantizer.step * gain.abs() / pack.gain(quantizer.bits, quantizer.zero)
    if quantizer.zero:
        codes = codes * per_channel(gain != 0, layer.weight)
    silent = (gain == 0) | ~codes.flatten(1).any(1)  # such a channel is its bias: its scale is next to nothing
    scale = torch.where(silent, HALF_LEAST, _short(torch.where(silent, 1.0, scale)))
    return StoredLayer(
        codes.to(torch.int8).numpy(), scale.numpy(), _short(shift).numpy(), quantizer.bits, quantizer.zero
    )


@torch.no_grad()
def settle_scales_(graph: fx.GraphModule) -> None:
    """Rounds scales and biases of quantized layers to what a file stores: torch computes with the same numbers."""
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        quantizer = find(layer, WeightQuantizer) if isinstance(layer, LAYERS) else None
        if quantizer is None:
            continue
        norm = folded_norm(graph, node)
        exact, (gain, shift) = stored(layer, norm), _affine(layer, norm)  # type: ignore[arg-type]
        settled = torch.from_numpy(exact.scale * pack.gain(quantizer.bits, quantizer.zero)) / gain.abs()
        quantizer.scale *= torch.where(gain == 0, 1.0, settled / quantizer.step)
        owner = norm if norm is not None else layer
        if owner.bias is not None:  # type: ignore[union-attr]
            owner.bias += torch.from_numpy(exact.bias) - shift  # type: ignore[union-attr,operator]


def folded_norm(graph: fx.GraphModule, node: fx.Node) -> nn.BatchNorm2d | None:
    """The batch norm that is folded into the convolution called by `node`, or None."""
    norm = batch_norm_after(graph, node) if isinstance(module_of(graph, node), nn.Conv2d) else None
    return module_of(graph, norm) if norm is not None else None  # type: ignore[return-value]


def _short(values: torch.Tensor) -> torch.Tensor:
    """`values` rounded to float16, or as they are where float16 would lose more than its usual 11 bits of them."""
    magnitudes = values.abs()[values != 0]
    fits = bool(((magnitudes >= HALF_LOWEST) & (magnitudes <= HALF_HIGHEST)).all())
    return values.half().float() if fits else values


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
