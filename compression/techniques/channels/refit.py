"""Least squares: layers whose inputs have changed are refitted to give the dense network's outputs again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from compression.network.batches import Batches, Plan, called, plan
from compression.network.graph import batch_norm_after, gain_of, layers, residual_operand
from compression.network.spilled import Spilled
from compression.solvers import patches
from compression.solvers.gram import of_halves
from compression.solvers.shrinkage import share_between_halves, shrunk

Layer = nn.Conv2d | nn.Linear

ROWS = 8_192
"""Positions that a layer is fitted to; a wide layer takes ROWS_PER_INPUT for each of its inputs, up to PATCHES."""
ROWS_PER_INPUT = 16
IMAGES = 512
DAMPING = 0.003
"""Ridge towards the old weights, as a share of the inputs' mean power."""
LEAST_GAIN = 0.02
"""A batch norm that multiplies by less than this share of its largest gain hardly lets anything through."""
VALUES = 40_000_000
"""Fewer images are `enough` where IMAGES have more than VALUES / 64 pixels: first maps have about 64 channels."""


@dataclass(frozen=True)
class Rows:
    """What one layer of the dense network read (X) and gave (Y) at n drawn positions, d = in·kh·kw.

    gram [d, d] and cross [d, out]: XᵀX / n and XᵀY / n of centred X and Y, `shrinkage.shrunk`; mean and power
    [d]: of X and X²; target and variance [out]: mean and variance of Y; width: input channels of the layer.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    mean: torch.Tensor
    power: torch.Tensor
    target: torch.Tensor
    variance: torch.Tensor
    width: int

    @classmethod
    def of(cls, layer: Layer, inputs: torch.Tensor, outputs: torch.Tensor) -> "Rows":
        """From inputs [n, d] and outputs [n, out] of `layer`."""
        power, (variance, target) = inputs.square().mean(0), torch.var_mean(outputs, 0, correction=0)
        mean = inputs.mean(0)
        x, y = inputs - mean, outputs - target
        gram, cross = _centred(layer, x, y)
        return cls(gram, cross, mean, power, target, variance, layer.weight.shape[1])


@dataclass(frozen=True)
class Target:
    """What one layer of the dense network gave at n drawn positions, [n, out], and what that was added to.

    `places` were drawn of each batch. `residual` is None where nothing was, or a value of another shape, which has
    other positions or channels.
    """

    outputs: torch.Tensor
    residual: torch.Tensor | None
    places: int

    def of(self, left: torch.Tensor | None) -> "Target":
        """The same for the outputs that are `left`, [out] bool; None for all."""
        if left is None:
            return self
        return Target(self.outputs[:, left], None if self.residual is None else self.residual[:, left], self.places)


@dataclass(frozen=True)
class Targets:
    """Those of the dense network by layer, and on how many batches of `batch` images each of its nodes has run."""

    batch: int
    counts: Mapping[str, int]
    layers: Mapping[str, Target]

    def plan(self, graph: fx.GraphModule) -> Plan:
        """By which `graph`, which has lost channels, runs on the same images; nodes that are new follow the last."""
        found, now = list[int](), min(self.counts.values())
        for node in called(graph):
            now = self.counts.get(node.name, now)
            found.append(now)
        return Plan(self.batch, tuple(found))


def rows_of(graph: fx.GraphModule, readers: set[str], images: torch.Tensor) -> Mapping[str, Rows]:
    """The rows of the layers `readers` of the dense network on up to IMAGES of images [n, C, H, W]."""
    return _pass(graph, readers, {}, images)[0]


def targets_of(graph: fx.GraphModule, images: torch.Tensor) -> Targets:
    """The targets of all layers of the dense network that can be refitted, on up to IMAGES of images [n, C, H, W]."""
    return _pass(graph, set(), _single(graph), images)[1]


def rows_and_targets_of(
    graph: fx.GraphModule, readers: set[str], images: torch.Tensor
) -> tuple[Mapping[str, Rows], Targets]:
    """`rows_of` and `targets_of`, in one pass."""
    return _pass(graph, readers, _single(graph), images)


def _pass(
    graph: fx.GraphModule, readers: set[str], refitted: Mapping[str, Layer], images: torch.Tensor
) -> tuple[Mapping[str, Rows], Targets]:
    """The rows of `readers` and the targets of the layers `refitted`."""
    by, known = plan(graph, images[:IMAGES]), layers(graph)
    batches = Batches(graph, images[:IMAGES], by)
    rows, targets, counts = Spilled[Rows](), Spilled[Target](), dict[str, int]()
    for node in batches.nodes:
        name = str(node.target) if node.op == "call_module" else ""
        if name not in readers and name not in refitted:
            counts[node.name] = len(batches.run(node))
            continue
        layer, read = known[name], batches.read(node)
        places = places_of(layer, len(read))
        inputs = inputs_at(layer, read, places) if name in readers else None
        other = batches.known(residual_operand(graph, node)) if name in refitted else None
        del read  # what is read no more is freed while the layer runs
        values = batches.run(node)
        outputs, counts[node.name] = outputs_at(layer, values, places), len(values)
        if inputs is not None:
            rows[name] = Rows.of(layer, inputs, outputs)
        if name in refitted:
            alike = None if other is None or other[0].shape != values[0].shape else outputs_at(layer, other, places)
            targets[name] = Target(outputs, alike, places)
        del other, values
    return rows, Targets(by.batch, counts, targets)


def refit_(
    graph: fx.GraphModule, targets: Targets, images: torch.Tensor, inputs: dict[str, torch.Tensor],
    outputs: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """Refits the layers from the first in `inputs` on, one after the other, each on what the network gives it by then.

    inputs and outputs: which of the dense layer's inputs [in] and outputs [out] are left, bool; all where it is not
    named. targets: of the dense network, on the same images. What is added to another value also makes up for how that
    has changed (He et al. 2017, §3.2.3).
    """
    batches, single, begun = Batches(graph, images[:IMAGES], targets.plan(graph)), _single(graph), False
    for node in batches.nodes:
        name = str(node.target) if node.op == "call_module" else ""
        begun = begun or name in inputs
        if begun and name in targets.layers:
            target, layer = targets.layers[name].of(outputs.get(name)), single[name]
            value, other = batches.read(node), batches.known(residual_operand(graph, node))
            after = batch_norm_after(graph, node)
            norm = graph.get_submodule(str(after.target)) if after else None
            wanted = target.outputs
            if other is not None and target.residual is not None:
                changed = target.residual - outputs_at(layer, other, target.places)
                wanted = wanted + (changed if norm is None else _before(norm, changed))
            fit_(layer, inputs_at(layer, value, target.places), wanted, norm)
        batches.run(node)


def _before(norm: nn.Module, change: torch.Tensor) -> torch.Tensor:
    """By how much `norm`'s input must change for its output to change so, [n, out]; 0 where it hardly lets through."""
    gain = gain_of(norm)  # type: ignore[arg-type]
    open_ = gain.abs() > LEAST_GAIN * gain.abs().max()
    return torch.where(open_, change / torch.where(open_, gain, 1.0), 0.0)


def _single(graph: fx.GraphModule) -> dict[str, Layer]:
    """The layers that read all their inputs at once and are called once: others have no one input to be fitted to."""
    calls, known = Counter(node.target for node in graph.graph.nodes if node.op == "call_module"), layers(graph)
    return {name: layer for name, layer in known.items() if getattr(layer, "groups", 1) == 1 and calls[name] == 1}


def refit_at_once_(
    graph: fx.GraphModule, rows: Mapping[str, Rows], inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]
) -> None:
    """Refits the layers named in `inputs` on what the dense network gave them: no pass, but what has moved is not seen.

    inputs and outputs: which of the dense layer's inputs [in] and outputs [out] are left, bool; all where it is not
    named.
    """
    for node in graph.graph.nodes:
        if node.op != "call_module" or node.target not in inputs:
            continue
        layer, seen = graph.get_submodule(node.target), rows[node.target]
        wide = inputs[node.target].repeat_interleave(len(seen.mean) // seen.width)  # [d]
        after = batch_norm_after(graph, node)
        norm = graph.get_submodule(str(after.target)) if after else None
        rest = outputs.get(node.target, slice(None))
        gram, cross = seen.gram[wide][:, wide], seen.cross[wide][:, rest]
        mean, target = seen.mean[wide], seen.target[rest]
        if layer.bias is None and norm is None:
            gram, cross = gram + mean[:, None] * mean, cross + mean[:, None] * target
        _solve_(layer, norm, gram, cross, mean, target)  # type: ignore[arg-type]


def fit_(
    layer: Layer, inputs: torch.Tensor, outputs: torch.Tensor, norm: nn.Module | None, damping: float = DAMPING
) -> None:
    """The weights closest to X·Wᵀ + b = Y in the least-squares sense, drawn to the old ones by a ridge.

        W = (XᵀX + λI)⁻¹ (XᵀY + λW₀),  λ = damping · mean(diag XᵀX),  X and Y centred where a bias can take the means

    inputs X [n, in·kh·kw], outputs Y [n, out]. The bias is the layer's, or the running mean of the batch norm after it.
    """
    x_mean, y_mean = inputs.mean(0), outputs.mean(0)
    centred = layer.bias is not None or norm is not None
    x, y = (inputs - x_mean, outputs - y_mean) if centred else (inputs, outputs)
    gram, cross = _centred(layer, x, y)
    _solve_(layer, norm, gram, cross, x_mean, y_mean, damping)


def _centred(layer: Layer, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """gram [d, d] and cross [d, out] of x [n, d] and y [n, out], `shrunk`."""
    n, w, (first, second) = len(x), layer.weight.detach().flatten(1), of_halves(x[None])
    share = share_between_halves(first, second)
    h, g = shrunk(first.add_(second).div_(n), (y.T @ x).div_(n)[None], w[None], share)
    return h[0], g[0].T


def _solve_(
    layer: Layer, norm: nn.Module | None, gram: torch.Tensor, cross: torch.Tensor, x_mean: torch.Tensor,
    y_mean: torch.Tensor, damping: float = DAMPING,
) -> None:  # fmt: skip
    """`fit_` from gram [d, d] = XᵀX / n and cross [d, out] = XᵀY / n."""
    old = layer.weight.flatten(1).T  # [d, out]
    ridge = damping * gram.diagonal().mean() + 1e-12
    solved = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), cross + ridge * old).T  # [out, d]
    layer.weight.copy_(solved.reshape(layer.weight.shape))
    bias = y_mean - solved @ x_mean
    if layer.bias is not None:
        layer.bias.copy_(bias)
    elif norm is not None:
        norm.get_buffer("running_mean").sub_(bias)


def enough(images: torch.Tensor) -> torch.Tensor:
    """As many of the images as one pass has memory for."""
    pixels = images.shape[2] * images.shape[3]
    return images[: min(IMAGES, max(16, VALUES // (64 * pixels)))]


def inputs_at(layer: Layer, values: list[torch.Tensor], places: int) -> torch.Tensor:
    """Rows of what the layer multiplies its weights by, [n, in·kh·kw], at up to so many `places` of each batch."""
    if isinstance(layer, nn.Linear):
        return outputs_at(layer, values, places)
    rows, order = torch.cat([patches.drawn(layer, part, places)[0] for part in values]), patches.order(layer)
    return rows if order is None else rows[:, order]


def outputs_at(layer: Layer, values: list[torch.Tensor], places: int) -> torch.Tensor:
    """What the layer gives, in batches, at the same places: [n, out]."""
    rows = [patches.flat(layer, part) for part in values]
    return torch.cat([part[patches.some(len(part), places)] for part in rows])


def places_of(layer: Layer, batches: int) -> int:
    """How many places are drawn of each of the `batches`."""
    return -(-min(patches.PATCHES, max(ROWS, ROWS_PER_INPUT * layer.weight[0].numel())) // batches)
