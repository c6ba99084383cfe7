"""One layer's weights while the techniques of a recipe choose them together."""

from dataclasses import dataclass, field

import torch
from torch import nn

from compression.host.cpu import saturates
from compression.network.parametrizations import Mask, find, original
from compression.recipe import Recipe
from compression.solvers import least_squares, moments
from compression.solvers.moments import Moments
from compression.steps import Quantize


def narrow(settings: Quantize) -> bool:
    """Whether 8-bit kernels compute with the weights and must stay within the codes that cannot saturate.

    Those are `integer_grids.SATURATION_FREE` for grids and `Codebook.top_of` for codebooks.
    """
    return settings.activation_bits == 8 and _reduced(settings)


def _reduced(settings: Quantize) -> bool:
    return settings.reduce_range == "on" or (settings.reduce_range == "auto" and saturates())


@dataclass(eq=False)
class LayerFit:
    """A layer whose stored weights each technique of `recipe` changes in turn; `store_` writes what they chose.

    `w` [g, out/g, d] are the weights as chosen so far, `keep` (bool, the same shape) those that the layer's mask
    leaves, `m` the moments of what the layer reads and is to answer, `norm` the batch norm folded into it. `fast` asks
    for few rounds of whatever is iterated.

    A technique sets `settled` where later ones are to leave the values alone, `corrected` to False where the bias is
    not to make up for a changed mean of the answers, and `corrects_norm` where the batch norm's mean is to.
    """

    layer: nn.Conv2d | nn.Linear
    m: Moments
    norm: nn.BatchNorm2d | None
    recipe: Recipe
    fast: bool = False
    settled: bool = False
    corrected: bool = True
    corrects_norm: bool = False
    w: torch.Tensor = field(init=False)
    keep: torch.Tensor | None = field(init=False)
    mask: Mask | None = field(init=False)
    _refitted: bool = field(init=False, default=False)
    _chosen: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.mask = find(self.layer, Mask)
        self.w = moments.grouped(self.layer, original(self.layer))
        self.keep = None if self.mask is None else moments.grouped(self.layer, self.mask.keep)

    @property
    def has_zeros(self) -> bool:
        """Whether the mask leaves out any weight."""
        return self.mask is not None and not bool(self.mask.keep.all())

    @property
    def may_refit(self) -> bool:
        """Whether the weights that a mask leaves may change; they may where there is none."""
        return bool(getattr(self.recipe.get("prune"), "refit", True))

    def mask_and_refit(self, *, looks: bool) -> None:
        """Zeros where the mask says so; the other weights make up for them, or, if a technique `looks` at the data, are
        the best for it, once and where they may."""
        if self._refitted:
            return
        if self.may_refit and (self.has_zeros or looks):
            rounds = least_squares.QUICK_ROUNDS if self.fast else least_squares.ROUNDS
            self.w, self._refitted = least_squares.refit(self.w, self.keep, self.m, rounds=rounds), True
        elif self.keep is not None:
            self.w = self.w * self.keep

    def choose(self, w: torch.Tensor) -> None:
        """The layer's weights are to be w [g, out/g, d]."""
        self.w, self._chosen = w, True

    def store_(self) -> None:
        """Writes the weights, if any were chosen, and the bias under which the answers have the right mean."""
        if not self._chosen:
            return
        stored = original(self.layer)
        stored.copy_(self.w.reshape(stored.shape))
        if self.layer.bias is not None and self.corrected:
            self.layer.bias.copy_(self.m.mean_y - (self.w @ self.m.mean_x[..., None]).flatten())
