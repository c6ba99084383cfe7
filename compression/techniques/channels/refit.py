"""Least squares: layers whose inputs have changed are refitted to give the dense network's outputs again."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from compression.host.interruption import look
from compression.network.graph import batch_norm_after, gain_of, layers, residual_operand
from compression.network.spilled import Spilled
from compression.solvers import patches
from compression.solvers.moments import shrunk

Layer = nn.Conv2d | nn.Linear

ROWS = 8_192
"""Positions that a layer is fitted to, at least; a wide layer takes ROWS_PER_INPUT for each of its inputs."""
ROWS_PER_INPUT = 16
IMAGES = 512
DAMPING = 0.003
"""Ridge towards the old weights, as a share of the inputs' mean power."""
LEAST_GAIN = 0.02
"""A batch norm that multiplies by less than this share of its largest gain hardly lets anything through."""
VALUES = 40_000_000
"""Fewer images are taken at once where IMAGES have more than VALUES / 64 pixels: first maps have about 64 channels."""

PARTS = 8
"""So many passes at most are made over images of which few are taken at once."""


@dataclass(frozen=True)
class Rows:
    """What one layer of the dense network read (X) and gave (Y) at n drawn positions, d = in·kh·kw.

    gram [d, d] and cross [d, out]: XᵀX / n and XᵀY / n of centred X and Y, of few rows `moments.shrunk`; mean and power
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
        sums = _Sums()
        sums.add(inputs, outputs)
        return sums.rows(layer)


@dataclass(frozen=True)
class Target:
    """What one layer of the dense network gave at n drawn positions, [n, out], and what that was added to.

    `residual` is None where nothing was, or a value of another shape, which has other positions or channels.
    """

    outputs: torch.Tensor
    residual: torch.Tensor | None

    def of(self, left: torch.Tensor | None) -> "Target":
        """The same for the outputs that are `left`, [out] bool; None for all."""
        if left is None:
            return self
        return Target(self.outputs[:, left], None if self.residual is None else self.residual[:, left])


def rows_of(graph: fx.GraphModule, readers: set[str], images: torch.Tensor) -> Mapping[str, Rows]:
    """The rows of the layers `readers` of the dense network, from a pass over each of the `parts` of `images`."""
    passes, sums, rows = parts(images), Spilled[_Sums](), Spilled[Rows]()
    last_calls = {str(node.target): node for node in graph.graph.nodes if node.op == "call_module"}
    last = False

    def keep(node: fx.Node, layer: Layer, value: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        outputs, wanted, name = run(), -(-_wanted(layer) // len(passes)), str(node.target)
        known = sums.pop(name, None) or _Sums()
        known.add(drawn_inputs(layer, value, wanted), drawn_outputs(layer, outputs, wanted))
        if last and last_calls[name] is node:
            rows[name] = known.rows(layer)
        else:
            sums[name] = known
        return outputs

    for number, part in enumerate(passes, 1):
        look()
        last = number == len(passes)
        _Visit(graph, readers, keep).run(part)
    return rows


def _zero() -> torch.Tensor:
    return torch.zeros(())


@dataclass
class _Sums:
    """Sums over the rows of several passes, from which `Rows` are made; inputs are counted from the first mean."""

    n: int = 0
    squares: torch.Tensor = field(default_factory=_zero)
    products: torch.Tensor = field(default_factory=_zero)
    powers: torch.Tensor = field(default_factory=_zero)
    moved: torch.Tensor = field(default_factory=_zero)
    origin: torch.Tensor = field(default_factory=_zero)
    target: torch.Tensor = field(default_factory=_zero)
    mean: torch.Tensor = field(default_factory=_zero)
    variance: torch.Tensor = field(default_factory=_zero)

    def add(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """inputs [n, d] and outputs [n, out] of one pass."""
        mean, variance = outputs.mean(0), outputs.var(0, correction=0)
        if not self.n:
            self.origin, self.target, self.mean, self.variance = inputs.mean(0), mean, mean, variance
        x, y = inputs - self.origin, outputs - self.target
        self.squares, self.products = (x.T @ x).add_(self.squares), (x.T @ y).add_(self.products)
        self.powers, self.moved = self.powers + inputs.square().sum(0), self.moved + x.sum(0)
        share = len(outputs) / (self.n + len(outputs))
        apart = mean - self.mean  # 0 in the first pass, which stays as it is
        self.variance = self.variance + share * (variance - self.variance + (1 - share) * apart.square())
        self.mean, self.n = self.mean + share * apart, self.n + len(outputs)

    def rows(self, layer: Layer) -> Rows:
        """What all passes say together; the sums are no more then."""
        n, far = self.n, self.moved / self.n
        gram = self.squares.div_(n).sub_(far[:, None] * far)
        cross = self.products.div_(n).sub_(far[:, None] * (self.mean - self.target))
        gram, cross = _of_few(layer, gram, cross, n)
        width = layer.weight.shape[1]
        return Rows(gram, cross, self.origin + far, self.powers / n, self.mean, self.variance, width)


def targets_of(graph: fx.GraphModule, images: torch.Tensor) -> Mapping[str, Target]:
    """The targets of all layers of the dense network that can be refitted, from one pass over `images`."""
    targets = Spilled[Target]()

    def keep(node: fx.Node, layer: Layer, value: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        outputs, wanted, other = run(), _wanted(layer), visit.known(residual_operand(graph, node))
        alike = None if other is None or other.shape != outputs.shape else drawn_outputs(layer, other, wanted)
        targets[str(node.target)] = Target(drawn_outputs(layer, outputs, wanted), alike)
        return outputs

    visit = _Visit(graph, _single(graph), keep)
    visit.run(enough(images))
    return targets


def _wanted(layer: Layer) -> int:
    return max(ROWS, ROWS_PER_INPUT * layer.weight[0].numel())


def refit_(
    graph: fx.GraphModule, targets: Mapping[str, Target], images: torch.Tensor, inputs: dict[str, torch.Tensor],
    outputs: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """Refits the layers from the first in `inputs` on, one after the other, each on what the network gives it by then.

    inputs and outputs: which of the dense layer's inputs [in] and outputs [out] are left, bool; all where it is not
    named. targets: of the dense network, on the same images. What is added to another value also makes up for how that
    has changed (He et al. 2017, §3.2.3).
    """
    begun = False

    def fit(node: fx.Node, layer: Layer, value: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        nonlocal begun
        name = str(node.target)
        begun = begun or name in inputs
        if not begun:
            return run()
        target = targets[name].of(outputs.get(name))
        after = batch_norm_after(graph, node)
        norm = graph.get_submodule(str(after.target)) if after else None
        wanted, other = target.outputs, visit.known(residual_operand(graph, node))
        if other is not None and target.residual is not None:
            changed = target.residual - drawn_outputs(layer, other, len(wanted))
            wanted = wanted + (changed if norm is None else _before(norm, changed))
        fit_(layer, drawn_inputs(layer, value, len(wanted)), wanted, norm)
        return run()

    visit = _Visit(graph, set(targets), fit)
    visit.run(enough(images))


def _before(norm: nn.Module, change: torch.Tensor) -> torch.Tensor:
    """By how much `norm`'s input must change for its output to change so, [n, out]; 0 where it hardly lets through."""
    gain = gain_of(norm)  # type: ignore[arg-type]
    open_ = gain.abs() > LEAST_GAIN * gain.abs().max()
    return torch.where(open_, change / torch.where(open_, gain, 1.0), 0.0)


def _single(graph: fx.GraphModule) -> set[str]:
    """The layers that read all their inputs at once and are called once: others have no one input to be fitted to."""
    calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    return {name for name, layer in layers(graph).items() if getattr(layer, "groups", 1) == 1 and calls[name] == 1}


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
    gram, cross = _of_few(layer, x.T @ x / len(x), x.T @ y / len(x), len(x))
    _solve_(layer, norm, gram, cross, x_mean, y_mean, damping)


def _of_few(layer: Layer, gram: torch.Tensor, cross: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """gram [d, d] and cross [d, out] of so many rows, `shrunk` where they are few."""
    h, g = shrunk(gram[None], cross.T[None], layer.weight.detach().flatten(1)[None], rows)
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


def parts(images: torch.Tensor) -> list[torch.Tensor]:
    """Up to IMAGES images in up to PARTS parts, each `enough` for one pass."""
    at_once = len(enough(images))
    return list(images[: min(IMAGES, PARTS * at_once)].split(at_once))


def drawn_inputs(layer: Layer, value: torch.Tensor, wanted: int) -> torch.Tensor:
    """Rows of what the layer multiplies its weights by, at up to `wanted` drawn positions: [n, in·kh·kw]."""
    if isinstance(layer, nn.Linear):
        return drawn_outputs(layer, value, wanted)
    rows, order = patches.drawn(layer, value, wanted)[0], patches.order(layer)
    return rows if order is None else rows[:, order]


def drawn_outputs(layer: Layer, value: torch.Tensor, wanted: int) -> torch.Tensor:
    """The layer's outputs at the same positions: [n, out]."""
    rows = patches.flat(layer, value)
    return rows[patches.some(len(rows), wanted)]


class _Visit(fx.Interpreter):
    """Runs a graph; at each layer in `names`, `act(node, layer, input, run)` gives the layer's value."""

    def __init__(self, graph: fx.GraphModule, names: set[str], act: Callable[..., torch.Tensor]):
        super().__init__(graph)
        self.names, self.act = names, act

    def known(self, node: fx.Node | None) -> torch.Tensor | None:
        """The value of `node`, if it has run already."""
        return None if node is None else self.env.get(node)

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module" and n.target in self.names:
            layer, value = self.module.get_submodule(str(n.target)), self.env[n.args[0]]  # type: ignore[index]
            return self.act(n, layer, value, lambda: super(_Visit, self).run_node(n))
        return super().run_node(n)
