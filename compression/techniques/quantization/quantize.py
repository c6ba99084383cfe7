"""One layer's weights on the grid of its bit width."""

import torch
from torch import nn

from compression.network.parametrizations import Half, Mask, WeightQuantizer, attach, find, original
from compression.solvers import least_squares, moments
from compression.solvers.moments import Moments
from compression.steps import Prune, Quantize
from compression.techniques.layer_weights import _refits, _store_
from compression.techniques.quantization.weight_scales import fit_weight_grid


@torch.no_grad()
def solve_layer_(
    layer: nn.Conv2d | nn.Linear, m: Moments, prune: Prune | None, quantize: Quantize | None,
    *, fast: bool = False,
) -> None:  # fmt: skip
    """Chooses the layer's stored weights, and its grid where bits are asked for, for the least error under `m`."""
    mask, stored = find(layer, Mask), original(layer)
    bits = quantize.bits if quantize else 32
    if bits == 32 and (mask is None or mask.keep.all()):
        return
    keep = moments.grouped(layer, mask.keep) if mask is not None else None
    w = moments.grouped(layer, stored)
    looks = quantize is not None and bits < 16 and quantize.rounding != "nearest"
    if _refits(layer, prune) or (looks and (prune is None or prune.refit)):
        w = least_squares.refit(w, keep, m, rounds=least_squares.QUICK_ROUNDS if fast else least_squares.ROUNDS)
    elif keep is not None:
        w = w * keep
    if quantize is not None and bits < 16:
        w = _quantize_(layer, w, keep, m, quantize, mask, fast)
    elif bits == 16:
        attach(layer, Half(len(stored)))
    _store_(layer, w, m, corrected=quantize is None or quantize.bias_correction)


def _quantize_(
    layer: nn.Module, w: torch.Tensor, keep: torch.Tensor | None, m: Moments, quantize: Quantize, mask: Mask | None,
    fast: bool,
) -> torch.Tensor:  # fmt: skip
    """Puts w [g, out/g, d] on the best grid, which becomes the layer's; returns its points."""
    found = fit_weight_grid(w, keep, m, quantize, fast=fast)
    quantizer = WeightQuantizer(
        found.step, quantize.bits, kind=found.kind, keep=mask.keep if mask else None, zero_point=found.zero_point,
        multipliers=found.multipliers(quantize.group_size), group=quantize.group_size,
        together=quantize.granularity == "tensor",
    )  # fmt: skip
    attach(layer, quantizer)
    return found.points
