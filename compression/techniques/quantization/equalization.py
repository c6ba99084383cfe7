"""Cross-layer equalization.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction". Dividing a channel's values
by s > 0 behind one layer and multiplying the next layer's weights for it by s changes no answer where only scaling,
ReLU and pooling lie between. s = √(r₁ / r₂) gives the channel the same range r in both layers (equation 11), so that no
channel is lost in the steps of another. What a channel has without its weights, its bias, is divided too: it may
become no larger than what the weights of all channels make, or it would set the range of all.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx, nn

from compression.network.batches import Batches
from compression.network.graph import (
    LAYERS,
    arguments,
    channel_axis,
    folded_norm,
    gain_of,
    module_of,
    only_reader,
    operator_name,
)
from compression.network.quantized_values import clip_of
from compression.steps import Quantize

HOMOGENEOUS = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "flatten"}
"""Operators that keep channels apart and let a positive factor through."""

ROUNDS = 10
SLACK = 1.1
"""How much further than on the calibration images values may reach before a ReLU6 would cut them off."""


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but the first one's batch norm, an activation and pooling between.

    bound is where the activation cuts off (infinite for none or ReLU); value names what it reads, whose channels lie
    on `axis`.
    """

    first: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm2d | None
    second: nn.Conv2d | nn.Linear
    bound: float
    value: str

    @property
    def axis(self) -> int:
        """Where the channels lie between the two."""
        return channel_axis(self.first)


def equalized_if_asked(
    graph: fx.GraphModule, settings: Quantize, images: torch.Tensor, say: Callable[[str, float], None]
) -> fx.GraphModule:
    """`equalized`, or `graph` itself where the settings do not ask for it."""
    if not settings.equalize:
        return graph
    say("Equalizing layers", 0.0)
    return equalized(graph, images)


@torch.no_grad()
def equalized(graph: fx.GraphModule, images: torch.Tensor) -> fx.GraphModule:
    """A copy of `graph` that gives the same answers, with ranges of neighbouring layers evened out.

    Channels that a ReLU6 cuts off on `images` [n, C, H, W] stay as they are, and none is scaled up into the cut.
    """
    graph = copy.deepcopy(graph)
    found = pairs(graph)
    seen = _seen(graph, images, {pair.value: pair.axis for pair in found})
    for _ in range(ROUNDS):
        for pair in found:
            scale = _scale(pair, seen[pair.value])
            _apply_(pair, scale)
            seen[pair.value] = seen[pair.value].divided(scale)
    return graph


@dataclass(frozen=True)
class _Values:
    """What is seen of a value, by channel [channels]: the largest, the mean, the furthest from the mean."""

    peak: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor

    def divided(self, scale: torch.Tensor) -> "_Values":
        """The same of the channels divided by `scale` [channels]."""
        return _Values(self.peak / scale, self.mean / scale, self.spread / scale)


def pairs(graph: fx.GraphModule) -> list[Pair]:
    """All pairs of neighbouring layers, in order of execution."""
    calls = [str(n.target) for n in graph.graph.nodes if n.op == "call_module"]
    found = [_pair(graph, node) for node in graph.graph.nodes if isinstance(module_of(graph, node), LAYERS)]
    names = {module: name for name, module in graph.named_modules()}
    return [p for p in found if p and calls.count(names[p.first]) == calls.count(names[p.second]) == 1]


def _pair(graph: fx.GraphModule, node: fx.Node) -> Pair | None:
    first, norm, bound, value = module_of(graph, node), folded_norm(graph, node), float("inf"), node
    reader = only_reader(node)
    if norm is not None and reader is not None:
        value, reader = reader, only_reader(reader)
    if reader is not None and (clip := clip_of(reader)) is not None:
        bound, reader = clip[1], only_reader(reader)
    rows = isinstance(first, nn.Linear)
    while reader is not None and (isinstance(module_of(graph, reader), nn.Dropout) or _lets_through(reader, rows)):
        rows = rows or operator_name(reader) == "flatten"
        reader = only_reader(reader)
    second = module_of(graph, reader) if reader is not None else None
    if not isinstance(first, LAYERS) or not isinstance(second, LAYERS) or _inputs(second) != len(first.weight):
        return None
    return Pair(first, norm, second, bound, value.name) if isinstance(second, nn.Linear) == rows else None


def _lets_through(node: fx.Node, rows: bool) -> bool:
    """Whether maps keep their channels apart in an operator, or become rows in it; of rows, nothing more is known."""
    name = operator_name(node)
    if rows or name not in HOMOGENEOUS:
        return False
    return name != "flatten" or (arguments(node)["start_dim"], arguments(node)["end_dim"]) in ((1, -1), (1, 3))


def _inputs(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def _by_input(layer: nn.Conv2d | nn.Linear) -> torch.Tensor:
    """The layer's weights by input channel, [in, …]."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = layer.weight.unflatten(0, (groups, -1)).transpose(1, 2)  # [g, in/g, out/g, …]
    return weight.flatten(0, 1)


def _scale(pair: Pair, seen: _Values) -> torch.Tensor:
    """s of each channel, [channels]; `seen` is what the activation reads."""
    first = pair.first.weight.abs().flatten(1).amax(1)
    if pair.norm is not None:
        first = first * gain_of(pair.norm).abs()
    second = _by_input(pair.second).abs().flatten(1).amax(1)
    scale = torch.where((first > 0) & (second > 0), (first / second.clamp_min(1e-12)).sqrt(), 1.0).clamp(1e-3, 1e3)
    made = (seen.spread / scale).amax()  # by weights
    scale = scale.maximum((seen.mean.abs() / made).nan_to_num(1.0).clamp_max(1.0))
    if pair.bound == float("inf"):
        return scale
    peaks = seen.peak * SLACK
    return torch.where(peaks < pair.bound, scale.maximum(peaks / pair.bound), 1.0)


def _apply_(pair: Pair, scale: torch.Tensor) -> None:
    first, second = pair.first, pair.second
    owner = pair.norm if pair.norm is not None else first
    owner.weight.div_(scale.reshape(-1, *[1] * (owner.weight.dim() - 1)))
    if owner.bias is not None:
        owner.bias.div_(scale)
    if isinstance(second, nn.Conv2d):
        columns = scale.reshape(second.groups, -1).repeat_interleave(len(second.weight) // second.groups, 0)
        second.weight.mul_(columns[..., None, None])  # [out, in/g, 1, 1]
    else:
        second.weight.mul_(scale)


def _seen(graph: fx.GraphModule, images: torch.Tensor, wanted: dict[str, int]) -> dict[str, _Values]:
    """What is seen of values, by name; wanted: where the channels of each lie."""
    found: dict[str, _Values] = {}
    batches = Batches(graph, images)
    for node in batches.nodes:
        values = batches.run(node)
        if node.name in wanted:
            by_channel = [v.movedim(wanted[node.name], 0).flatten(1) for v in values]
            low, high = torch.stack([torch.stack(v.aminmax(dim=1)) for v in by_channel], 1)
            mean = sum(v.sum(1) for v in by_channel) / sum(v.shape[1] for v in by_channel)
            low, high = low.amin(0), high.amax(0)
            found[node.name] = _Values(high, mean, (high - mean).maximum(mean - low))
    return found
