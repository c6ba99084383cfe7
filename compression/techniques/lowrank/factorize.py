"""Low-rank factorization: layers become products of smaller layers where that saves work.

Which products there are: `decompositions`. Which of them each layer gets, so that the network does with
a budget of multiply-accumulates: here, by an exact knapsack over what each loses times what such a loss does to the
network's answers.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.utils.weak import WeakIdKeyDictionary

from compression.calibration import Calibration
from compression.errors import Unsupported, at_most
from compression.host.interruption import look
from compression.network.batches import are_large
from compression.network.graph import (
    LAYERS,
    digest,
    folded_norm,
    gain_of,
    macs,
    module_of,
    part_paths,
    parts_of,
    shapes,
)
from compression.records.measurement import Reached
from compression.solvers import least_squares
from compression.steps import Factorize
from compression.techniques.exclusion import excluded_layers
from compression.techniques.layer_weights import LayerFit
from compression.techniques.lowrank.decompositions import Layer, Place, Problem, Split, modules, splittable

FORMS = {
    "best": ("output", "input", "spatial", "tucker"), "spatial": ("spatial",), "channel": ("output", "input"),
    "tucker": ("tucker",),
}  # fmt: skip


BINS = 4000
"""Steps in which a budget is spent."""


JUDGES, LARGE_JUDGES = 64, 8
"""Calibration images on which the effect of a loss is measured."""


TYPICAL = 0.05
"""A loss near this share of a layer's answers is what the effect is measured with."""


@dataclass(frozen=True)
class Factorized:
    """What `factorize_` did, kept in `graph.meta['factorize']`.

    Shares in [0, 1]: `requested` (None where ranks go by energy) and `reached` of the multiply-accumulates removed.
    `splits`: kind and ranks of the product in place of each layer, by name.
    """

    requested: float | None
    reached: float
    splits: dict[str, Split]


@torch.no_grad()
def factorize_(graph: fx.GraphModule, settings: Factorize, calibration: Calibration) -> None:
    """Replaces layers by products until at least `settings.amount` of the multiply-accumulates is gone.

    The last layer of a product keeps the layer's name; `graph.meta['factorize']` says what was done. Raises
    `Unsupported` where so much cannot be removed.
    """
    by_energy = settings.rank == "energy"
    if settings.amount == 0 and not by_energy:
        return
    counted = macs(graph, _shape(calibration))
    out = excluded_layers(graph, settings)
    options = {name: each for name, each in _options(graph, settings, calibration).items() if name not in out}
    chosen = _by_energy(options, settings.energy) if by_energy else _by_budget(options, settings.amount, counted)
    known, nodes = _problems(graph, settings, calibration), _usable(graph)
    for name, split in chosen.items():
        problem = known(name)
        bias = None if folded_norm(graph, nodes[name]) else problem.bias(split)  # a norm's mean is settled later
        _insert_(graph, name, modules(problem.layer, problem.factors(split), split.kind, bias))
    graph.recompile()
    reached = 1 - sum(macs(graph, _shape(calibration)).values()) / sum(counted.values())
    if not by_energy and reached < settings.amount - 1e-9:
        raise Unsupported(_out_of_reach(reached, settings.amount))
    graph.meta["factorize"] = Factorized(None if by_energy else settings.amount, reached, chosen)


@torch.no_grad()
def reference_for(reference: fx.GraphModule, graph: fx.GraphModule) -> fx.GraphModule:
    """A network with the nodes of the factorized `graph` and the answers of `reference`, which had its layers whole.

    The first layers of each product answer like those of `graph`; the last one like the whole layer. So `reconstruct`
    can walk through both side by side.
    """
    reference = copy.deepcopy(reference)
    for name in graph.meta["factorize"].splits if "factorize" in graph.meta else ():
        whole = reference.get_submodule(name)
        made = [copy.deepcopy(graph.get_submodule(path)) for path in parts_of(graph, name)]
        _insert_(reference, name, [*made, whole], whole_reads_input=True)
    reference.recompile()
    return reference


def refit_layer_(fit: LayerFit, settings: Factorize) -> None:
    """Fits a layer to the dense network's answers, but for one whose mask leaves weights that are fitted later."""
    if settings.refit and not (fit.has_zeros and fit.may_refit):
        fit.choose(least_squares.refit(fit.w, None, fit.m))
        fit.store_()


def factorize_reached(graph: fx.GraphModule, settings: Factorize) -> Reached | None:
    """The share of the multiply-accumulates asked for, None where ranks go by energy, and the share that is gone."""
    done = graph.meta.get(settings.kind)
    return done and Reached(settings.kind, "macs", done.requested, done.reached)


def _insert_(
    graph: fx.GraphModule, name: str, made: list[Layer] | list[nn.Module], *, whole_reads_input: bool = False
) -> None:
    """Puts the layers `made` where the layer `name` stood, in order, the last one under its name."""
    node = next(n for n in graph.graph.nodes if n.op == "call_module" and n.target == name)
    path, _, leaf = name.rpartition(".")
    parent, value = graph.get_submodule(path), node.args[0]
    fresh = dict(zip([p.rpartition(".")[2] for p in part_paths(name)], made[:-1], strict=False)) | {leaf: made[-1]}
    siblings = dict(parent._modules)
    parent._modules.clear()
    for key, module in siblings.items():  # in the order of execution
        parent._modules.update(fresh if key == leaf else {key: module})
    with graph.graph.inserting_before(node):
        for each in parts_of(graph, name):
            value = graph.graph.call_module(each, (value,))
    if not whole_reads_input:
        node.args = (value,)


@dataclass(frozen=True)
class _Option:
    """The products that a layer may become, its own multiply-accumulates, and what a loss of all its answers does."""

    macs: int
    splits: list[Split]
    effect: float


_KNOWN: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""The options for each set of calibration images, by settings and network: a slider move measures nothing anew."""


def _options(graph: fx.GraphModule, settings: Factorize, calibration: Calibration) -> dict[str, _Option]:
    known = _KNOWN.setdefault(calibration.images, {})
    key = (settings.form, settings.activation_aware, settings.round_to, digest(graph))
    if key not in known:
        known.clear()
        known[key] = _measured(graph, settings, calibration)
    return known[key]


def _measured(graph: fx.GraphModule, settings: Factorize, calibration: Calibration) -> dict[str, _Option]:
    problem_of, found = _problems(graph, settings, calibration), {}
    judges = calibration.images[: LARGE_JUDGES if are_large(calibration.images) else JUDGES]
    answers = graph(judges).log_softmax(1)
    for name in _usable(graph):
        look()
        problem = problem_of(name)
        splits = problem.splits(settings.round_to, FORMS[settings.form])
        if splits:
            typical = min(splits, key=lambda s: abs(s.error - TYPICAL))
            with _replaced(problem.layer, problem.product(typical), problem.bias(typical)):
                now = graph(judges).log_softmax(1)
            moved = F.kl_div(now, answers, reduction="batchmean", log_target=True)
            found[name] = _Option(problem.macs, splits, max(float(moved), 1e-9) / max(typical.error, 1e-6))
    return found


@contextmanager
def _replaced(layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None) -> Iterator[None]:
    """`layer` with another weight and bias for a while."""
    kept = layer.weight, layer.bias
    try:
        layer.weight = nn.Parameter(weight.reshape(layer.weight.shape))
        layer.bias = None if bias is None else nn.Parameter(bias)
        yield
    finally:
        layer.weight, layer.bias = kept


def _problems(graph: fx.GraphModule, settings: Factorize, calibration: Calibration) -> Callable[[str], Problem]:
    """Makes the problem of a layer by its name; one at a time, because moments are large."""
    nodes, known = _usable(graph), shapes(graph, _shape(calibration))
    moments = calibration.moments(graph) if settings.activation_aware else {}

    def problem(name: str) -> Problem:
        node, layer = nodes[name], graph.get_submodule(name)
        source = node.args[0]
        assert isinstance(layer, LAYERS) and isinstance(source, fx.Node)
        h = moments[name].h[0] if moments else torch.eye(layer.weight[0].numel())
        mean = moments[name].mean_x[0] if moments else None
        sizes = [_size(layer, known[value.name]) for value in (source, node)]
        return Problem(layer, h, _importance(graph, node), Place(*sizes), mean)

    return problem


def _usable(graph: fx.GraphModule) -> dict[str, fx.Node]:
    """The nodes of layers that can be split and are called once, by the layer's name.

    A layer whose product would be called like another one is left whole.
    """
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if isinstance(module_of(graph, node), LAYERS):
            calls.setdefault(str(node.target), []).append(node)
    return {
        name: found[0]
        for name, found in calls.items()
        if len(found) == 1 and splittable(graph.get_submodule(name)) and not parts_of(graph, name)
    }


def _importance(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """What each answer counts: by how much the batch norm behind it multiplies it, [out]."""
    norm, layer = folded_norm(graph, node), module_of(graph, node)
    assert isinstance(layer, LAYERS)
    if norm is None:
        return torch.ones(len(layer.weight))
    gain = gain_of(norm).abs()
    return gain.clamp_min(0.01 * gain.max().clamp_min(1e-6))


def _size(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what a convolution reads or gives; (1, positions) of what a linear layer does."""
    return (shape[2], shape[3]) if isinstance(layer, nn.Conv2d) else (1, math.prod(shape[1:-1]))


def _shape(calibration: Calibration) -> tuple[int, int, int]:
    channels, height, width = calibration.images.shape[1:]
    return channels, height, width


def _by_energy(options: dict[str, _Option], energy: float) -> dict[str, Split]:
    """For each layer the cheapest product that keeps so much of its answers, where there is one."""
    found = {}
    for name, option in options.items():
        good = [split for split in option.splits if split.error <= 1 - energy]
        if good:
            found[name] = min(good, key=lambda split: split.macs)
    return found


def _by_budget(options: dict[str, _Option], amount: float, counted: dict[str, int]) -> dict[str, Split]:
    """The products with the least effect in sum that leave at most (1 - amount) of the multiply-accumulates.

    A knapsack with one choice for each layer - whole, or one of its products - solved by dynamic programming over the
    budget in BINS steps. Where only rounding to steps makes all choices too expensive, each layer gets its cheapest.
    """
    total = sum(counted.values())
    fixed = total - sum(option.macs for option in options.values())
    least = fixed + sum(min(split.macs for split in option.splits) for option in options.values())
    if 1 - least / total < amount - 1e-9:
        raise Unsupported(_out_of_reach(1 - least / total, amount))
    step = ((1 - amount) * total - fixed) / BINS
    best, cuts = np.zeros(BINS + 1), []  # least effect within a budget of so many steps
    for option in options.values():
        costs = [option.macs, *(split.macs for split in option.splits)]
        losses = [0.0, *(option.effect * split.error for split in option.splits)]
        tried = [
            _shifted(best, int(np.ceil(cost / step - 1e-9)), loss) for cost, loss in zip(costs, losses, strict=True)
        ]
        cuts.append(np.argmin(tried, 0))
        best = np.min(tried, 0)
    if np.isinf(best[-1]):
        return {name: min(option.splits, key=lambda split: split.macs) for name, option in options.items()}
    return _traced(options, cuts, step)


def _out_of_reach(most: float, amount: float) -> str:
    return (
        f"{at_most(most)} of the multiply-accumulates can be removed by factorizing with these settings, "
        f"not {amount:.1%}."
    )


def _shifted(best: np.ndarray, steps: int, loss: float) -> np.ndarray:
    """What is best within each budget if `steps` of it are spent on something that costs `loss`."""
    return np.concatenate([np.full(min(steps, len(best)), np.inf), best[: max(0, len(best) - steps)] + loss])


def _traced(options: dict[str, _Option], cuts: list[np.ndarray], step: float) -> dict[str, Split]:
    """The choices that led to the best end."""
    left, found = BINS, {}
    for (name, option), cut in zip(reversed(options.items()), reversed(cuts), strict=True):
        chosen = option.splits[cut[left] - 1] if cut[left] else None
        if chosen is not None:
            found[name] = chosen
        left -= int(np.ceil((chosen.macs if chosen else option.macs) / step - 1e-9))
    return dict(reversed(found.items()))
