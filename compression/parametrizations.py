"""What stands between a layer's stored weights and the weights it computes with.

Each is a `torch.nn.utils.parametrize` parametrization: they stack in recipe order, train with straight-through
gradients, and the exporter reads masks, codes and scales back off them.
"""

from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

P = TypeVar("P", bound=nn.Module)


class Mask(nn.Module):
    """Keeps the weights where `keep` (bool, the weight's shape) is true; the others are zero."""

    def __init__(self, keep: torch.Tensor):
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight of any shape to the same shape."""
        return weight * self.keep


class WeightQuantizer(nn.Module):
    """Rounds to a symmetric grid of 2^bits levels at most, with one scale per output channel.

    zero=True:  weight = scale · code,     code in {-top, …, 0, …, top}, top = 2^(bits-1) - 1
    zero=False: weight = scale · code / 2, code odd in {-top, …, -1, 1, …, top}, top = 2^bits - 1

    The second uses all 2^bits levels and is still symmetric, so that the sign of a batch norm can be folded into the
    codes; where a mask stands below, its zeros stay zero. The gradient passes straight through (Bengio et al. 2013).
    scale [out], positive.
    """

    def __init__(self, scale: torch.Tensor, bits: int, *, zero: bool = True, keep: torch.Tensor | None = None):
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("keep", keep)
        self.bits, self.zero = bits, zero

    @property
    def top(self) -> int:
        """The largest code."""
        return 2 ** (self.bits - 1) - 1 if self.zero else 2**self.bits - 1

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """Integer codes in [-top, top], as floats of the weight's shape; 0 where a mask prunes."""
        steps = weight / per_channel(self.scale, weight)
        found = steps.round() if self.zero else 2 * steps.floor() + 1
        found = found.clamp(-self.top, self.top)
        return found if self.keep is None else found * self.keep

    @property
    def step(self) -> torch.Tensor:
        """Worth of one code, [out]."""
        return self.scale if self.zero else self.scale / 2

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight [out, …] to grid points, same shape."""
        rounded = self.codes(weight) * per_channel(self.step, weight)
        return weight + (rounded - weight).detach() if weight.requires_grad else rounded


class ActivationQuantizer(nn.Module):
    """Rounds a value to uint8: scale · (clamp(round(x / scale) + zero_point, 0, 255) - zero_point)."""

    def __init__(self, scale: float, zero_point: int):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.zero_point = zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape, with a straight-through gradient inside the range."""
        low, high = -self.zero_point, 255 - self.zero_point
        if not x.requires_grad:
            return (x / self.scale).round_().clamp_(low, high).mul_(self.scale)
        clamped = (x / self.scale).clamp(low, high)
        return (clamped + (clamped.round() - clamped).detach()) * self.scale


def per_channel(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """values [out] shaped to multiply weight [out, …]."""
    return values.reshape(-1, *[1] * (weight.dim() - 1))


def attach(layer: nn.Module, parametrization: nn.Module) -> None:
    """Puts `parametrization` on top of what already shapes `layer.weight`."""
    parametrize.register_parametrization(layer, "weight", parametrization, unsafe=True)


def original(layer: nn.Module) -> nn.Parameter:
    """The stored weight under all parametrizations: what solvers write and optimizers train."""
    return layer.parametrizations.weight.original if parametrize.is_parametrized(layer) else layer.weight  # type: ignore[union-attr,return-value]


def find(layer: nn.Module, kind: type[P]) -> P | None:
    """The layer's parametrization of that kind, or None."""
    if not parametrize.is_parametrized(layer):
        return None
    return next((p for p in layer.parametrizations.weight if isinstance(p, kind)), None)  # type: ignore[union-attr]
