"""One layer's weights as entries of a codebook."""

import torch
from torch import nn

from compression.network.parametrizations import Mask, attach, find, original
from compression.solvers import codebooks, least_squares, moments
from compression.solvers.moments import Moments
from compression.steps import Prune, Quantize, Share
from compression.techniques.layer_weights import _refits, _store_, narrow


@torch.no_grad()
def share_layer_(
    layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, share: Share, quantize: Quantize | None,
    sign: torch.Tensor, *, fast: bool,
) -> None:  # fmt: skip
    """Chooses the layer's codebooks, and its stored weights among their entries, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    keep = moments.grouped(layer, mask.keep) if mask is not None else None
    w = moments.grouped(layer, stored)
    if _refits(layer, prune) or (share.assignment != "nearest" and (prune is None or prune.refit)):
        w = least_squares.refit(w, keep, m, rounds=least_squares.QUICK_ROUNDS if fast else least_squares.ROUNDS)
    elif keep is not None:
        w = w * keep
    books, w = codebooks.fit(
        w, keep, m, share, sign, turns=0 if fast else codebooks.TURNS,
        narrow=quantize is not None and narrow(quantize),
    )  # fmt: skip
    attach(layer, books.parametrization(mask.keep if mask else None))
    _store_(layer, w, m, corrected=quantize is None or quantize.bias_correction)
