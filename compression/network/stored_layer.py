"""What a layer is in a file: weights as codes and scales or as floats, batch norm folded."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from compression.network import integer_grids
from compression.network.integer_grids import Kind

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
        return integer_grids.gain(self.bits, self.grid) if self.multipliers is None else 1

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


def short(values: torch.Tensor) -> torch.Tensor:
    """`values` rounded to float16, or as they are where float16 would lose more than its usual 11 bits of them."""
    magnitudes = values.abs()[values != 0]
    fits = bool(((magnitudes >= HALF_LOWEST) & (magnitudes <= HALF_HIGHEST)).all())
    return values.half().float() if fits else values
