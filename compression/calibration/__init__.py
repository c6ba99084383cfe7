"""What unlabelled training images tell about a network: moments, ranges of its values, statistics of batch norms.

The images come from the training split (`Dataset.calibration`); what is chosen between is judged on unlabelled
validation images by how far the answers move from the dense network's. The test split is never seen.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from compression.calibration import moments_cache
from compression.data import Dataset
from compression.errors import Unsupported
from compression.host.interruption import look
from compression.network.batches import Batches, Watched, are_large, parts
from compression.network.graph import LAYERS, layers, module_of
from compression.network.quantized_values import quantized_values
from compression.network.spilled import Spilled
from compression.solvers import clipping, patches
from compression.solvers.moments import Moments, grouped, moments_of_rows, thinned

HELD_OUT, RANGE_IMAGES, QUICK, QUICK_IMAGES = 256, 256, 32, 128
"""Images that are judged on, that ranges are taken from, and how many do for both where it has to be quick; how many
are looked at in all then."""

LARGE_HELD_OUT, LARGE_RANGE_IMAGES, LARGE_QUICK, LARGE_QUICK_IMAGES = 64, 96, 16, 32
"""The same where images are large, as each of them costs more and shows more places."""


PERCENTILE = 0.9999
"""Share of what lies on one side of zero that the percentile range covers."""


LEVELS = 255

TARGETS = 128 << 20
"""Bytes of the dense network's answers that stay in memory."""


LARGEST = 1e12
"""Of weights: the squares of larger ones times those of what they read leave the numbers that 32 bits hold."""


@dataclass(frozen=True)
class Calibration:
    """images and held_out: float32 [n, C, H, W], normalised; answers: the dense network's scores on `held_out`, which
    are found out when somebody asks for `reference` where they are None.

    dense_moments: of each layer's inputs and answers in the dense network, by name. targets: the dense network's own
    answers, layer by layer, at the places where patches are drawn (`patches.answers_of`), [m, out], and `network`,
    that network. Ranges are taken from `range_images` of the images. Where it `fast`, somebody waits: whoever
    iterates stops early.
    """

    images: torch.Tensor
    held_out: torch.Tensor
    answers: torch.Tensor | None
    dense_moments: Mapping[str, Moments]
    targets: Mapping[str, torch.Tensor] = field(default_factory=dict)
    network: fx.GraphModule | None = None
    range_images: int = RANGE_IMAGES
    fast: bool = False

    @cached_property
    def fast_variant(self) -> "Calibration":
        """The same with fewer images, for whoever waits: to judge on, to take ranges from, to measure batch norms on.

        Moments of the dense network stay those of all images.
        """
        few, more = (LARGE_QUICK, LARGE_QUICK_IMAGES) if are_large(self.images) else (QUICK, QUICK_IMAGES)
        known = None if self.answers is None else self.answers[:few]
        return replace(
            self, images=self.images[:more], held_out=self.held_out[:few], answers=known, range_images=few, fast=True
        )

    @cached_property
    def reference(self) -> torch.Tensor:
        """The dense network's scores on `held_out`, [n, classes]."""
        if self.answers is not None:
            return self.answers
        assert self.network is not None
        return answers(self.network, self.held_out)

    def targets_of(self, graph: fx.GraphModule) -> Mapping[str, torch.Tensor] | None:
        """The targets, if `graph` is the network that they were collected on."""
        return self.targets if graph is self.network else None

    def of(self, graph: fx.GraphModule) -> "Calibration":
        """What the same images tell about `graph`, which answers like the network that this was collected on."""
        moments, targets = collect(graph, self.images)
        return replace(self, answers=self.reference, dense_moments=moments, targets=targets, network=graph)

    @cached_property
    def _shapes(self) -> dict[str, torch.Size]:
        """Of each layer's moments `g`: by the network that they were collected on, as a large one's lie on the disk."""
        if self.network is None:
            return {name: m.g.shape for name, m in self.dense_moments.items()}
        found = layers(self.network).items()
        return {name: _shape(layer) for name, layer in found if name in self.dense_moments}

    def moments(self, graph: fx.GraphModule) -> Mapping[str, Moments]:
        """Moments of `graph`'s layers: the dense network's, or collected now where layers have changed their shape."""
        found = layers(graph)
        if all(self._shapes.get(name) == _shape(layer) for name, layer in found.items()):
            return self.dense_moments
        return (self.fast and self._thinned(graph)) or collect(graph, self.images)[0]

    def _thinned(self, graph: fx.GraphModule) -> Mapping[str, Moments] | None:
        """Moments of a network that has lost channels, from the dense network's; None where it has changed otherwise.

        What the loss did to the values themselves is not seen.
        """
        removed = graph.meta.get("channels")
        if removed is None:
            return None
        found = Spilled[Moments]()
        for name, layer in layers(graph).items():
            dense = self.dense_moments.get(name)
            if dense is None:
                return None
            found[name] = made = thinned(layer, dense, removed.inputs.get(name), removed.outputs.get(name))
            if made.g.shape != _shape(layer):
                return None
        return found


@dataclass(frozen=True)
class Range:
    """Lowest and highest value seen."""

    low: float
    high: float


@torch.no_grad()
def calibrate(graph: fx.GraphModule, data: Dataset, *, images: int, seed: int) -> Calibration:
    """Draws `images` training images by `seed`, and asks the dense network for its answers on held-out ones.

    What was found out about this network on these images before is read from disk.
    """
    drawn = data.normalize(data.calibration(images, seed))  # drawn and held_out: [n, C, H, W]
    generator = torch.Generator().manual_seed(seed)
    large = are_large(drawn)
    chosen = torch.randperm(len(data.validation), generator=generator)[: LARGE_HELD_OUT if large else HELD_OUT]
    held_out = data.normalize(data.validation.images[chosen])
    key = moments_cache.key(graph, drawn)
    found = moments_cache.read(key) or moments_cache.save(key, collect(graph, drawn))
    _check_sizes(graph, found[0])
    if large:
        return Calibration(drawn, held_out, None, *found, graph, range_images=LARGE_RANGE_IMAGES)
    return Calibration(drawn, held_out, answers(graph, held_out), *found, graph)


def _check_sizes(graph: fx.GraphModule, found: Mapping[str, Moments]) -> None:
    """Raises `Unsupported` for weights and values with which fits and errors could not be computed in 32 bits."""
    for name, layer in layers(graph).items():
        largest = float(layer.weight.detach().abs().max())
        if largest > LARGEST:
            raise Unsupported(
                f"The network's layer {name!r} has weights of up to {largest:.0e}; up to {LARGEST:.0e} are possible."
            )
        m = found[name]
        if not all(t.isfinite().all() for t in (m.h, m.g, m.mean_y) + (() if m.var_y is None else (m.var_y,))):
            raise Unsupported(
                f"The network's layer {name!r} reads or gives numbers too large to be squared in 32 bits; "
                "up to 1e+18 are possible."
            )


@torch.no_grad()
def collect(graph: fx.GraphModule, images: torch.Tensor) -> tuple[Mapping[str, Moments], Mapping[str, torch.Tensor]]:
    """Moments and targets of every layer of `graph`, by name, on float images [n, C, H, W]."""
    batches, found, targets = Batches(graph, images), Spilled[Moments](), Spilled[torch.Tensor](TARGETS)
    for node in batches.nodes:
        layer, name = module_of(graph, node), str(node.target)
        if not isinstance(layer, LAYERS):
            batches.run(node)
            continue
        rows = patches.rows_of(layer, batches.read(node))
        answers = patches.answers_of(layer, batches.run(node))
        found[name] = moments_of_rows(layer, rows, answers)
        targets[name] = answers
    return found, targets


@torch.no_grad()
def observe(graph: fx.GraphModule, images: torch.Tensor, method: str = "minmax") -> dict[str, Range]:
    """Ranges of all values that the 8-bit rule names (`export.qdq.quantized_values`), on float [n, C, H, W].

    method: 'minmax', or 'percentile', 'mse' or 'entropy', which leave out what is rare; see `solvers.clipping`. No more
    than one batch is in memory: where a method needs counts between the ends, the images are passed over twice.
    """
    wanted = set(quantized_values(graph).values())
    ends = dict[str, Range]()

    def see(name: str, value: torch.Tensor) -> None:
        if name in wanted:
            low, high = map(float, _in_one_piece(value).aminmax())
            known = ends.get(name, Range(low, high))
            ends[name] = Range(min(low, known.low), max(high, known.high))

    _pass_over(graph, images, see)
    if not all(math.isfinite(found.low) and math.isfinite(found.high) for found in ends.values()):
        raise Unsupported("Between its layers the network has values that are infinite; 8 bits hold none.")
    if method == "minmax":
        return ends
    counts = dict[str, list[torch.Tensor]]()

    def count(name: str, value: torch.Tensor) -> None:
        if name in wanted:
            now = [_counts(side, end) for side, end in ((-value, -ends[name].low), (value, ends[name].high))]
            counts[name] = [sum_ + new for sum_, new in zip(counts[name], now, strict=True)] if name in counts else now

    _pass_over(graph, images, count)
    return {
        name: Range(-_covered(counts[name][0], -found.low, method), _covered(counts[name][1], found.high, method))
        for name, found in ends.items()
    }


def _pass_over(graph: fx.GraphModule, images: torch.Tensor, see: Callable[[str, torch.Tensor], None]) -> None:
    """Shows `see` every value of `graph`, node by node, one batch after the other."""
    with parametrize.cached():
        for part in parts(images):
            look()
            Watched(graph, see).run(part.to(memory_format=torch.channels_last))


@torch.inference_mode()
def divergence(graph: nn.Module, calibration: Calibration) -> float:
    """Mean Kullback-Leibler divergence of the answers from the dense network's, on held-out images, in nats."""
    with parametrize.cached():
        scores = answers(graph, calibration.held_out)
    log_p, log_q = calibration.reference.log_softmax(1), scores.log_softmax(1)
    return float(F.kl_div(log_q, log_p, reduction="batchmean", log_target=True))


def answers(graph: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Scores [n, classes] for float images [n, C, H, W]."""
    found = []
    for part in parts(images):
        look()
        found.append(graph(part.to(memory_format=torch.channels_last)))
    return torch.cat(found)


def _in_one_piece(value: torch.Tensor) -> torch.Tensor:
    """The same values as they lie in memory, where channels stand last: so they are read six times as fast."""
    return value.permute(0, 2, 3, 1) if value.dim() == 4 else value


def _counts(side: torch.Tensor, end: float) -> torch.Tensor:
    """How many of the values lie in each of `clipping.BINS` bins from 0 to `end`; none where that is below 0."""
    return side.flatten().histc(clipping.BINS, 0, end) if end > 0 else torch.zeros(clipping.BINS)


def _covered(counts: torch.Tensor, end: float, method: str) -> float:
    """The part of the side from 0 to `end` that the method covers; an `end` below 0 stays."""
    if end <= 0:
        return end
    shares = {"mse": clipping.mse_share, "entropy": clipping.entropy_share}
    if method == "percentile":
        return end * clipping.percentile_share(counts, PERCENTILE)
    return end * shares[method](counts, LEVELS)


def _shape(layer: nn.Module) -> torch.Size:
    """That of the moments `g` of a layer."""
    return grouped(layer, layer.weight).shape  # type: ignore[arg-type]
