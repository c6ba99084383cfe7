"""One layer's weights on the grid of its bit width."""

import torch

from compression.network.parametrizations import Half, WeightQuantizer, attach, original
from compression.steps import Quantize
from compression.techniques.layer_weights import LayerFit
from compression.techniques.quantization.weight_scales import fit_weight_grid


def quantize_layer_(fit: LayerFit, settings: Quantize) -> None:
    """Chooses the layer's grid, and its weights among the grid's points, for the least error of the layer's answers.

    Weights that are settled stay, and so do those of 32 bits; those of 16 are rounded to half precision.
    """
    fit.corrected = fit.corrects_norm = settings.bias_correction
    if fit.settled or settings.bits == 32:
        return
    fit.mask_and_refit(looks=settings.bits < 16 and settings.rounding != "nearest")
    if settings.bits == 16:
        attach(fit.layer, Half(len(original(fit.layer))))
        fit.choose(fit.w)
    else:
        fit.choose(_points(fit, settings))


def _points(fit: LayerFit, settings: Quantize) -> torch.Tensor:
    """The points of the best grid, which becomes the layer's: [g, out/g, d]."""
    found = fit_weight_grid(fit.w, fit.keep, fit.m, settings, fast=fit.fast)
    quantizer = WeightQuantizer(
        found.step, settings.bits, kind=found.kind, keep=fit.mask.keep if fit.mask else None,
        zero_point=found.zero_point, multipliers=found.multipliers(settings.group_size), group=settings.group_size,
        together=settings.granularity == "tensor",
    )  # fmt: skip
    attach(fit.layer, quantizer)
    return found.points
