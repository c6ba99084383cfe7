"""Which integers the codes of rounded weights may be.

A weight is step · code (· multiplier of its group). Codes are small integers, because that is what 8-bit kernels take:

| zero    | -top … top, top = 2^(bits-1) - 1                        | symmetric, 2^bits - 1 levels |
| odd     | odd numbers from -top to top, top = 2^bits - 1          | symmetric, 2^bits levels, zero is none of them |
| powers  | 0, ±1, ±2, ±4 … ±2^(2^(bits-1) - 2)                     | symmetric; bits 2 … 4 (Miyashita et al. 2016) |
| shifted | -zero_point … 2^bits - 1 - zero_point, for each channel | zero is a level, the ends differ |
"""

from typing import Literal

import torch

Kind = Literal["zero", "odd", "powers", "shifted"]

MOST_BITS: dict[Kind, int] = {"zero": 8, "odd": 6, "powers": 4, "shifted": 8}
LEAST_BITS: dict[Kind, int] = {"zero": 2, "odd": 1, "powers": 2, "shifted": 2}

GROUP_TOP = 16
"""The largest multiplier of a group's scale: four bits store 1 to 16."""

BYTE, SATURATION_FREE = 127, 64
"""Largest code that an 8-bit kernel takes, and the largest of which two products never saturate 16 bits."""


def largest(bits: int, kind: Kind) -> int:
    """The largest magnitude of a code."""
    if kind == "zero":
        return 2 ** (bits - 1) - 1
    return 2 ** (2 ** (bits - 1) - 2) if kind == "powers" else 2**bits - 1


def nearest(steps: torch.Tensor, bits: int, kind: Kind, zero_point: torch.Tensor | None = None) -> torch.Tensor:
    """The codes nearest to `steps`, weights in units of one code; zero_point broadcasts to it."""
    top = largest(bits, kind)
    if kind == "odd":
        return (2 * (steps / 2).floor() + 1).clamp(-top, top)
    if kind == "powers":
        return nearest_power(steps, top)
    if kind == "shifted":
        assert zero_point is not None
        return torch.minimum(torch.maximum(steps.round(), -zero_point), top - zero_point)
    return steps.round().clamp(-top, top)


def nearest_power(steps: torch.Tensor, top: int | torch.Tensor) -> torch.Tensor:
    """The nearest of 0, ±1, ±2, ±4 … ±top: between 2^k and 2^(k+1) the border is 3/2 · 2^k, below 1 it is 1/2."""
    magnitude = steps.abs()
    power = torch.exp2((magnitude * (4 / 3)).log2().floor().clamp_min(0))
    power = torch.minimum(power, torch.as_tensor(top, dtype=power.dtype))
    return torch.where(magnitude < 0.5, 0.0, power.copysign(steps))


def gain(bits: int, grid: Kind = "zero") -> int:
    """What codes are multiplied by when they are decoded: as much as fits seven bits, 1 for floats.

    The bias is rounded in steps of input scale · weight scale; codes that fill the byte make those steps finer. Seven
    bits, not eight, so that pairs of products never saturate on processors without VNNI.
    """
    return 1 if bits >= 16 else 2 ** max(0, 6 - largest(bits, grid).bit_length())
