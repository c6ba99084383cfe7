"""Gradual pruning: masks that close while the network trains (Zhu & Gupta 2017)."""

from dataclasses import dataclass, field

import torch
from torch import nn

from compression.graph import layers
from compression.parametrizations import Mask, find, original

BEGIN = 0.5
"""Share of the zeros that are there from the start."""

ENDS = 2 / 3
"""Share of all steps after which no more weights go; the rest is for those that stay."""

EVERY = 10
"""Steps between two changes."""


@dataclass(frozen=True)
class Cubic:
    """Before step t of n: zeros(t) = z · (1 - (1 - b) · (1 - t / (e n))³), b = BEGIN, e = ENDS, z those asked for.

    The smallest weights of the network (scope 'global') or of each layer go. Where the pattern of zeros is not `free`,
    the weights that stay in the end are those of the masks as they were given.
    """

    graph: nn.Module
    free: bool
    scope: str
    final: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = {name: find(layer, Mask) for name, layer in layers(self.graph).items()}
        self.final.update({name: mask.keep.clone() for name, mask in masks.items() if mask is not None})

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int, steps: int) -> None:
        """Sets the masks of `model`, which has the layers of `graph`."""
        last = int(ENDS * steps)
        if step > last or (step % EVERY and step != last):
            return
        share = 1 - (1 - BEGIN) * (1 - step / max(last, 1)) ** 3
        found = {name: layer for name, layer in layers(model).items() if name in self.final}
        sizes = {name: original(layer).abs() for name, layer in found.items()}
        if not self.free:  # what stays stays: infinitely large
            sizes = {n: s.masked_fill(self.final[n].to(s.device), torch.inf) for n, s in sizes.items()}
        for name, keep in self._kept(sizes, share).items():
            for parametrization in found[name].parametrizations.weight:  # type: ignore[union-attr]
                if getattr(parametrization, "keep", None) is not None:
                    parametrization.keep.copy_(keep)

    def _kept(self, sizes: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
        zeros = {name: int((~keep).sum()) for name, keep in self.final.items()}
        if self.scope != "global":
            return {n: _largest(s.flatten(), round(share * zeros[n])).view(s.shape) for n, s in sizes.items()}
        together = _largest(torch.cat([s.flatten() for s in sizes.values()]), round(share * sum(zeros.values())))
        parts = together.split([s.numel() for s in sizes.values()])
        return {name: part.view(s.shape) for (name, s), part in zip(sizes.items(), parts, strict=True)}


def _largest(sizes: torch.Tensor, zeros: int) -> torch.Tensor:
    """Which of sizes [n] stay when the `zeros` smallest go: bool [n]."""
    keep = torch.ones_like(sizes, dtype=torch.bool)
    keep[sizes.argsort(stable=True)[:zeros]] = False
    return keep
