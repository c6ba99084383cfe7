"""Linear quantization: weights to a symmetric grid per output channel, values between layers to uint8.

Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference"; scales by least squared error
as in Banner et al. 2019.
"""

import torch
from torch import fx

from compression.calibration import Calibration, Range, observe
from compression.export.qdq import quantized_values
from compression.graph import layers
from compression.parametrizations import ActivationQuantizer, WeightQuantizer, attach
from compression.steps import Quantize

SHRINKS = torch.linspace(0.3, 1.0, 36)
"""Shares of the largest magnitude that are tried as the end of a grid."""


@torch.no_grad()
def quantize_weights_(graph: fx.GraphModule, settings: Quantize, calibration: Calibration) -> None:
    """Puts a `WeightQuantizer` on every layer, on top of masks that are there already."""
    if settings.weight_bits == 32:
        return
    for layer in layers(graph).values():
        weight = layer.weight.detach()
        scale = weight_scale(weight, settings.weight_bits, search=settings.scale == "mse")
        attach(layer, WeightQuantizer(scale, settings.weight_bits))


@torch.no_grad()
def quantize_activations_(graph: fx.GraphModule, settings: Quantize, calibration: Calibration) -> None:
    """Inserts an `ActivationQuantizer` after every value that the 8-bit rule names."""
    if settings.activation_bits == 32:
        return
    carried = quantized_values(graph)
    quantizers = {name: activation_quantizer(found) for name, found in observe(graph, calibration.images).items()}
    insert_quantizers_(graph, carried, quantizers)


def insert_quantizers_(
    graph: fx.GraphModule, carried: dict[str, str], quantizers: dict[str, ActivationQuantizer]
) -> None:
    """After each node in `carried`, a call of the quantizer of the value whose scale it carries."""
    for name, quantizer in quantizers.items():
        graph.add_module(f"quantizer_{name}", quantizer)
    for node in [n for n in graph.graph.nodes if n.name in carried]:
        with graph.graph.inserting_after(node):
            rounded = graph.graph.call_module(f"quantizer_{carried[node.name]}", (node,))
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user, r=rounded: user is not r)
    graph.recompile()


def weight_scale(weight: torch.Tensor, bits: int, *, search: bool) -> torch.Tensor:
    """Step of the grid for each output channel of weight [out, …]: [out], positive.

    The largest magnitude lies on the grid's end; with `search`, the end is the share of it with the least squared error.
    """
    rows = weight.flatten(1)  # [out, d]
    top = 2 ** (bits - 1) - 1
    full = rows.abs().amax(1).clamp_min(1e-12) / top  # [out]
    if not search:
        return full
    errors = torch.stack([_squared_error(rows, full * shrink, top) for shrink in SHRINKS])  # [tried, out]
    return full * SHRINKS[errors.argmin(0)]


def activation_quantizer(found: Range) -> ActivationQuantizer:
    """The uint8 grid with the least squared error on the range's sample; zero is always a grid point."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    span = high - low or 1.0  # a value that is always zero has no range of its own
    best, least = ActivationQuantizer(span / 255, 0), float("inf")
    for shrink in SHRINKS.tolist():
        scale = span * shrink / 255
        quantizer = ActivationQuantizer(scale, min(255, max(0, round(-low * shrink / scale))))
        error = float((quantizer(found.sample) - found.sample).square().mean())
        if error < least:
            best, least = quantizer, error
    return best


def _squared_error(rows: torch.Tensor, scale: torch.Tensor, top: int) -> torch.Tensor:
    rounded = (rows / scale[:, None]).round_().clamp_(-top, top).mul_(scale[:, None])
    return (rounded - rows).square_().sum(1)
