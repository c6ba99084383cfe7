"""A layer as it is written into a file: batch norm folded, weights as codes and scales or as floats.

Folding multiplies the scale of each output channel by |γ/σ| and puts the sign of γ into the codes: codes never change
magnitude, so batch-norm statistics can be re-estimated after quantization without rounding anything again.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx, nn

from compression.export import pack
from compression.network.graph import LAYERS, folded_norm, gain_of, module_of
from compression.network.integer_grids import Kind
from compression.network.parametrizations import Codebook, Half, Mask, WeightQuantizer, find, original, per_channel

HALF_LEAST, HALF_LOWEST, HALF_HIGHEST = 2.0**-24, 2.0**-14, 65504.0
"""Smallest, smallest normal and largest number of float16."""


ACCUMULATOR = np.float32(2**30)


@dataclass(frozen=True)
class StoredLayer:
    """values [out, …]: codes (int8; uint8 modulo 2^bits on a shifted grid) or floats; bias [out] float32.

    scale [out] float32 is the worth of one step of the codes as files decode them, `gain` times larger than here; None
    for floats. limits: uint8 [out], the largest code of each channel of a shifted grid. multipliers: uint8
    [out, ⌈d/group⌉], by which the codes of each `group` inputs are multiplied. books: the number of codebooks that
    runs of output channels have, whose entries the codes are.
    """

    values: np.ndarray
    scale: np.ndarray | None
    bias: np.ndarray
    bits: int
    grid: Kind = "zero"
    limits: np.ndarray | None = None
    multipliers: np.ndarray | None = None
    group: int = 0
    books: int = 0

    @property
    def gain(self) -> int:
        """What the codes of a file are larger by than these: 1 where multipliers fill the byte already."""
        return pack.gain(self.bits, self.grid) if self.multipliers is None else 1

    @property
    def needs_zero_points(self) -> bool:
        """Whether integer kernels must take zero-points, as the codes do not fit signed bytes around zero."""
        return self.bits == 8 and self.limits is not None

    def with_bias_in_32_bits(self, input_scale: np.ndarray) -> "StoredLayer":
        """The same layer with scales at least so large that the bias fits the integer kernel's 32-bit accumulator.

        It changes only channels whose weights are next to nothing beside their bias.
        """
        assert self.scale is not None
        least = np.abs(self.bias) / (input_scale * ACCUMULATOR)
        return self if (self.scale >= least).all() else replace(self, scale=np.maximum(self.scale, least * 1.001))

    def plain(self) -> "StoredLayer":
        """The same numbers without anything to decode: 8-bit codes as kernels take them, or floats."""
        if self.scale is None:
            return replace(self, values=self.values.astype(np.float32), bits=32)
        codes: np.ndarray = self.values.astype(np.int32).reshape(len(self.values), -1)  # [out, d]
        if self.limits is not None:
            codes = codes - 2**self.bits * (codes > self.limits[:, None])
        if self.multipliers is not None:
            codes = codes * self.multipliers.astype(np.int32).repeat(self.group, 1)[:, : codes.shape[1]]
        codes = (self.gain * codes).reshape(self.values.shape)
        kind = np.int32 if self.bits == 8 and self.limits is not None else np.int8
        return StoredLayer(codes.astype(kind), self.scale, self.bias, 8)

    def moved(self) -> "StoredLayer":
        """`plain`, with the codes of each channel moved so that they end at 127 and fit int8."""
        assert self.limits is not None
        plain = self.plain()
        zero_points = (127 - self.limits.astype(np.int32)).reshape(-1, *[1] * (plain.values.ndim - 1))
        return replace(plain, values=(plain.values + zero_points).astype(np.int8))


@torch.no_grad()
def stored(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None = None) -> StoredLayer:
    """What `layer`, followed by `norm`, becomes in a file."""
    gain, shift = _affine(layer, norm)
    quantizer, book = find(layer, WeightQuantizer), find(layer, Codebook)
    if book is not None:
        return _shared_layer(layer, book, gain, shift)
    if quantizer is None:
        return _float_layer(layer, gain, shift)
    codes = quantizer.codes(_masked(layer)) * per_channel(torch.where(gain < 0, -1.0, 1.0), layer.weight)
    if quantizer.kind != "odd":
        codes = codes * per_channel(gain != 0, layer.weight)
    silent = (gain == 0) | ~codes.flatten(1).any(1)  # such a channel is its bias: its scale is next to nothing
    found = StoredLayer(
        codes.to(torch.int8).numpy(), None, _short(shift).numpy(), quantizer.bits, quantizer.kind, group=quantizer.group
    )
    if quantizer.multipliers is not None:
        found = replace(found, multipliers=quantizer.multipliers.to(torch.uint8).numpy())
    if quantizer.zero_point is not None:
        top = 2**quantizer.bits - 1
        limits = torch.where(gain < 0, quantizer.zero_point, top - quantizer.zero_point)
        wrapped = (codes % 2**quantizer.bits).to(torch.uint8).numpy()
        found = replace(found, values=wrapped, limits=limits.to(torch.uint8).numpy())
    scale = quantizer.scale * gain.abs() / found.gain
    scale = torch.where(silent, HALF_LEAST, _short(torch.where(silent, 1.0, scale)))
    return replace(found, scale=scale.numpy())


def _shared_layer(layer: nn.Conv2d | nn.Linear, book: Codebook, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
    """Entries of codebooks, turned round only where training has turned the sign of a batch norm's scale."""
    folded = book.scale * gain
    codes = book.codes(_masked(layer)) * per_channel(torch.where(folded < 0, -1.0, 1.0), layer.weight)
    silent = (gain == 0) | ~codes.flatten(1).any(1)
    scale = torch.where(silent, HALF_LEAST, _short(torch.where(silent, 1.0, folded.abs())))
    return StoredLayer(
        codes.to(torch.int8).numpy(), scale.numpy(), _short(shift).numpy(), book.bits, books=len(book.entries)
    )


def _float_layer(layer: nn.Conv2d | nn.Linear, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
    """Weights in 32 bits, or in 16 where that was asked for and they fit."""
    weights = (layer.weight * per_channel(gain, layer.weight)).float()
    if find(layer, Half) is not None and bool(weights.half().isfinite().all()):
        return StoredLayer(weights.half().numpy(), None, _short(shift).numpy(), 16)
    return StoredLayer(weights.numpy().copy(), None, shift.numpy(), 32)


@torch.no_grad()
def settle_scales_(graph: fx.GraphModule) -> None:
    """Rounds scales and biases of quantized layers to what a file stores: torch computes with the same numbers."""
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if not isinstance(layer, LAYERS):
            continue
        norm, quantizer, half = folded_norm(graph, node), find(layer, WeightQuantizer), find(layer, Half)
        book = find(layer, Codebook)
        gain, shift = _affine(layer, norm)
        if half is not None:
            half.gain.copy_(torch.where(gain == 0, 1.0, gain))
        exact = stored(layer, norm)
        if quantizer is not None:
            assert exact.scale is not None
            settled = torch.from_numpy(exact.scale * exact.gain) / gain.abs()
            quantizer.scale.copy_(torch.where(gain == 0, quantizer.scale, settled))
        if book is not None:
            assert exact.scale is not None
            settled = torch.from_numpy(exact.scale) / gain.abs() * book.scale.sign()
            book.scale.copy_(torch.where(gain == 0, book.scale, settled))
        owner = norm if norm is not None else layer
        if exact.bits < 32 and owner.bias is not None:
            owner.bias += torch.from_numpy(exact.bias) - shift


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
    assert norm.running_mean is not None
    gain = gain_of(norm)
    return gain.detach(), (norm.bias + (bias - norm.running_mean) * gain).detach()
