"""How many bits, and which grid, each layer's weights get."""

import copy

import torch
from torch import fx, nn

from compression.calibration import Calibration, divergence
from compression.errors import UnknownName
from compression.network.graph import layers, parts_of
from compression.network.parametrizations import original
from compression.recipe.bit_allocation import cheapest
from compression.solvers import moments as solve
from compression.solvers.moments import Moments
from compression.steps import Quantize
from compression.techniques.layer_weights import _reduced, narrow
from compression.techniques.quantization import weight_scales

CHOICES = (1, 2, 3, 4, 5, 6, 7, 8)


REFERENCE = 3
"""Bits at which each layer's weight in the network's answers is tried out."""


EXEMPT_BITS = 8


def layer_bit_widths(graph: fx.GraphModule, settings: Quantize, calibration: Calibration) -> dict[str, Quantize]:
    """The settings of every layer of `graph`, by name. Raises `UnknownName` for an override of a layer it lacks."""
    bits, own = dict.fromkeys(layers(graph), settings.bits), _own(graph, settings)
    if settings.allocation == "mixed" and settings.bits < EXEMPT_BITS:
        bits |= mixed(graph, settings, calibration, [name for name in bits if name not in own])
    bits |= own
    whole = settings.model_copy(update={"reduce_range": "on" if _reduced(settings) else "off"})
    if narrow(settings):
        bits = {name: 7 if b == 8 else b for name, b in bits.items()}
    found = {name: whole.with_bits(b) for name, b in bits.items()}
    return {name: _for_kernel(layer, found[name]) for name, layer in layers(graph).items()}


def _own(graph: fx.GraphModule, settings: Quantize) -> dict[str, int]:
    """Bits of the layers that have their own: exempt ends and overrides, each for all layers of a product."""
    names = list(layers(graph))
    for name in settings.overrides:
        if name not in names:
            raise UnknownName("layer in quantize.layer_bits", name, names)
    split = graph.meta["factorize"].splits if "factorize" in graph.meta else {}
    parts = {name: [*(parts_of(graph, name) if name in split else ()), name] for name in names}
    first = next(name for name in reversed(names) if names[0] in parts[name])
    ends = dict.fromkeys((first, names[-1]) if settings.exempt_ends else (), max(EXEMPT_BITS, settings.bits))
    wide = {part: bits for name, bits in (ends | settings.overrides).items() for part in parts[name]}
    return wide | settings.overrides


def _for_kernel(layer: nn.Module, settings: Quantize) -> Quantize:
    """Linear instead of asymmetric weights where those would not do in kernels of 8-bit activations.

    ONNX Runtime's depthwise kernel takes about 20 times as long where channels have zero-points of their own. And codes
    of 7 bits from a zero-point on reach 127: where they must not, linear ones have finer steps than any that do.
    """
    grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
    wide = settings.scheme == "asymmetric" and settings.bits == 7 and narrow(settings)
    linear = wide or (grouped and settings.asymmetric_bytes)
    return settings.model_copy(update={"scheme": "linear"}) if linear else settings


@torch.no_grad()
def mixed(graph: fx.GraphModule, settings: Quantize, calibration: Calibration, names: list[str]) -> dict[str, int]:
    """Bits of the layers `names`, on average per weight what `settings` ask for, with the least harm to the answers.

    Each bit goes where it helps most for its cost.
    """
    sizes = layer_sizes(graph, names)
    return cheapest(harms(graph, settings, calibration, names), sizes, settings.bits * sum(sizes.values()))


def layer_sizes(graph: fx.GraphModule, names: list[str]) -> dict[str, int]:
    """Weights of the layers `names`."""
    return {name: original(layer).numel() for name, layer in layers(graph).items() if name in names}


@torch.no_grad()
def harms(
    graph: fx.GraphModule, settings: Quantize, calibration: Calibration, names: list[str]
) -> dict[str, dict[int, float]]:
    """What each of the layers `names` does to the network's answers at each number of bits: divergence in nats.

    At `REFERENCE` bits it is the divergence of the answers on held-out images when the layer alone is rounded so; at
    other bits it is in proportion to the squared error of the layer's own answers (after Dong et al. 2019, HAWQ).
    """
    moments = calibration.moments(graph)
    plain = settings.model_copy(update={"rounding": "nearest", "scheme": "linear", "granularity": "channel"})
    trial = copy.deepcopy(graph)
    harm: dict[str, dict[int, float]] = {}
    for name in names:
        layer, known = layers(trial)[name], moments[name]
        w, weight = solve.grouped(layer, layer.weight), original(layer)
        kept = weight.clone()
        rounded = {
            bits: weight_scales.fit_weight_grid(w, None, known, plain.with_bits(bits)).points for bits in CHOICES
        }
        errors = {bits: _noise(points - w, known) for bits, points in rounded.items()}
        weight.copy_(rounded[REFERENCE].reshape(weight.shape))
        unit = divergence(trial, calibration) / max(errors[REFERENCE], 1e-20)
        weight.copy_(kept)
        harm[name] = {bits: unit * error for bits, error in errors.items()}
    return harm


def _noise(error: torch.Tensor, m: Moments) -> float:
    """Mean squared error of the answers that an error of the weights [g, out/g, d] makes."""
    return float((error * (error @ m.h)).sum())
