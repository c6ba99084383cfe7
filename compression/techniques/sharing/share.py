"""One layer's weights as entries of a codebook."""

import torch

from compression.network.parametrizations import attach, original
from compression.solvers import codebooks
from compression.steps import Quantize, Share
from compression.techniques.layer_weights import LayerFit, narrow


def share_layer_(fit: LayerFit, settings: Share) -> None:
    """Chooses the layer's codebooks, and its weights among their entries, for the least error of its answers."""
    fit.mask_and_refit(looks=settings.assignment != "nearest")
    quantize = fit.recipe.get("quantize")
    books, w = codebooks.fit(
        fit.w, fit.keep, fit.m, settings, _sign(fit), turns=0 if fit.fast else codebooks.TURNS,
        narrow=isinstance(quantize, Quantize) and narrow(quantize),
    )  # fmt: skip
    attach(fit.layer, books.parametrization(fit.mask.keep if fit.mask else None))
    fit.choose(w)
    fit.settled = True


def _sign(fit: LayerFit) -> torch.Tensor:
    """-1 for the output channels that the batch norm turns round, else 1: [out]."""
    out = original(fit.layer).new_ones(len(original(fit.layer)))
    return out if fit.norm is None else torch.where(fit.norm.weight < 0, -out, out)
