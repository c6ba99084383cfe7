"""Gradual pruning: masks that close while the network trains (Zhu & Gupta 2017).

Grids and codebooks made for the few large weights that stay have no place for the many small ones that are still there,
so they wait until the masks have closed, and are then fitted to what stays: pruned, then shared (Han et al. 2016).
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from compression.network import integer_grids
from compression.network.graph import layers
from compression.network.parametrizations import Codebook, Mask, WeightQuantizer, find, original, per_channel
from compression.solvers import codebooks

BEGIN = 0.5
"""Share of the zeros that are there from the start."""

ENDS = 2 / 3
"""Share of all steps after which no more weights go; the rest is for those that stay."""

EVERY = 10
"""Steps between two changes."""

SHARES, ROUNDS = torch.linspace(0.1, 1.0, 19), 4
"""Of the largest magnitude, tried as the end of a grid; how often its scale and its codes are then fitted in turns."""


def last_step(steps: int) -> int:
    """The step, of so many, before which masks close for good."""
    return int(ENDS * steps)


@dataclass(frozen=True)
class Cubic:
    """Before step t of n: zeros(t) = z · (1 - (1 - b) · (1 - t / (e n))³), b = BEGIN, e = ENDS, z those asked for.

    How many go in each layer is what the masks say that were given; which, what they are and do meanwhile: those with
    the least |weight| · power (Sun et al. 2024), `power` being the root mean square of what a weight is multiplied
    with, by layer, in the weight's shape. Where the pattern of zeros is not `free`, the weights that stay in the end
    are those of the masks as they were given.
    """

    graph: nn.Module
    free: bool
    power: dict[str, torch.Tensor] = field(default_factory=dict)
    final: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = {name: find(layer, Mask) for name, layer in layers(self.graph).items()}
        self.final.update({name: mask.keep.clone() for name, mask in masks.items() if mask is not None})

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int, steps: int) -> None:
        """Sets the masks of `model`, which has the layers of `graph`."""
        last = last_step(steps)
        if step > last or (step % EVERY and step != last):
            return
        share = 1 - (1 - BEGIN) * (1 - step / last) ** 3 if step < last else 1.0
        found = {name: layer for name, layer in layers(model).items() if name in self.final}
        sizes = {name: self._size(name, original(layer)) for name, layer in found.items()}
        if not self.free:  # what stays stays: infinitely large
            sizes = {n: s.masked_fill(self.final[n].to(s.device), torch.inf) for n, s in sizes.items()}
        for name, size in sizes.items():
            zeros = int((~self.final[name]).sum())
            keep = _largest(size.flatten(), round(share * zeros)).view(size.shape)
            for parametrization in found[name].parametrizations.weight:  # type: ignore[union-attr]
                if getattr(parametrization, "keep", None) is not None:
                    parametrization.keep.copy_(keep)
                if isinstance(parametrization, WeightQuantizer | Codebook):
                    parametrization.open.fill_(step < last)
                    if step == last:
                        _fit_anew_(parametrization, original(found[name]) * keep, self.power.get(name))

    def _size(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        power = self.power.get(name)
        return weight.abs() if power is None else weight.abs() * power.to(weight.device)


def _largest(sizes: torch.Tensor, zeros: int) -> torch.Tensor:
    """Which of sizes [n] stay when the `zeros` smallest go: bool [n]."""
    keep = torch.ones_like(sizes, dtype=torch.bool)
    keep[sizes.argsort(stable=True)[:zeros]] = False
    return keep


@torch.no_grad()
def _fit_anew_(values: WeightQuantizer | Codebook, weight: torch.Tensor, power: torch.Tensor | None) -> None:
    """Scales, and entries, for the weights [out, …] as they are now; those of multiplied groups and zero-points stay.

    Squared errors count by power² (`Cubic.power`).
    """
    counts = torch.ones_like(weight) if power is None else power.to(weight.device).square()
    if isinstance(values, Codebook):
        entries, scale = codebooks.nearest(weight, weight != 0, values, counts)
        values.entries.copy_(entries)
        values.scale.copy_(scale)
    elif values.multipliers is None and values.zero_point is None:
        _fit_scale_(values, weight, counts)


def _fit_scale_(quantizer: WeightQuantizer, weight: torch.Tensor, counts: torch.Tensor) -> None:
    """The scales with the least squared error, in turns with the codes and from several first ones on."""
    top = integer_grids.largest(quantizer.bits, quantizer.kind)
    ends, best = weight.abs().flatten(1).amax(1).clamp_min(1e-12), quantizer.scale.clone()
    if quantizer.together:
        ends = ends.max().expand_as(ends)
    least = torch.full_like(best, torch.inf)
    for share in SHARES.tolist():
        quantizer.scale.copy_(share * ends / top)
        for _ in range(ROUNDS):
            codes = quantizer.codes(weight)
            fitted = quantizer.sums(counts * codes * weight) / quantizer.sums(counts * codes.square()).clamp_min(1e-12)
            quantizer.scale.copy_(torch.where(fitted > 0, fitted, quantizer.scale))
        error = quantizer.sums(
            counts * (weight - quantizer.codes(weight) * per_channel(quantizer.scale, weight)).square()
        )
        best, least = torch.where(error < least, quantizer.scale, best), torch.minimum(error, least)
    quantizer.scale.copy_(best)
