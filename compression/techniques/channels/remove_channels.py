"""Structured pruning: whole channels, filters and neurons leave the network, which becomes a smaller plain one.

Li et al. 2017, "Pruning filters for efficient ConvNets"; which channels belong together: Fang et al. 2023. The layers
that read a removed channel are refitted by least squares (He et al. 2017, "Channel pruning for accelerating very deep
neural networks", eq. 2).
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import fx, nn
from torch.utils.weak import WeakIdKeyDictionary

from compression.calibration import Calibration
from compression.errors import Unsupported, at_most
from compression.host import channel_multiple
from compression.network.graph import digest, layers, macs, operator_name, shapes
from compression.records.measurement import Reached
from compression.steps import Channels
from compression.techniques.channels.allocation import Budget, Order, Plan, allocate, reachable
from compression.techniques.channels.coupling import Group, coupling
from compression.techniques.channels.following import block_of
from compression.techniques.channels.lengths import Masked, rewrite_lengths_
from compression.techniques.channels.refit import (
    Rows,
    Targets,
    refit_,
    refit_at_once_,
    rows_and_targets_of,
    rows_of,
    targets_of,
)
from compression.techniques.channels.scores import orders
from compression.techniques.exclusion import excluded_layers

aten = torch.ops.aten

TOLERANCE = 1e-3
"""Largest share of the answers' range by which the smaller network may differ from the masked one."""


@dataclass(frozen=True)
class Removed:
    """What `remove_channels_` did, kept in `graph.meta['channels']`.

    Shares in [0, 1]: `requested` and `reached` of what the settings measure, `macs` of the multiply-accumulates that
    are left. `kept` is the number of units left of each group (channels, or what goes together: heads, the groups of a
    norm or a convolution), by the name of the group's first layer; `inputs` and `outputs` tell, for each layer that
    lost some, which of the dense layer's are left (bool); `note` says which multiple they are of, and why.
    """

    requested: float
    reached: float
    macs: float
    kept: dict[str, int]
    inputs: dict[str, torch.Tensor] = field(repr=False, compare=False)
    outputs: dict[str, torch.Tensor] = field(repr=False, compare=False)
    note: str = ""


@torch.no_grad()
def remove_channels_(graph: fx.GraphModule, settings: Channels, calibration: Calibration) -> None:
    """Removes the least important channels until at least `settings.amount` of the MACs or channels is gone.

    The weights get smaller shapes; `graph.meta['channels']` says what was reached. Raises `Unsupported` where so much
    cannot be removed.
    """
    if settings.amount == 0:
        return
    ranked, budget = _ranked(graph, settings, calibration)
    found = ranked.found
    plan = allocate(
        budget, ranked.orders, settings.amount, uniform=settings.scope == "uniform", round_to=settings.round_to
    )
    if plan.reached < settings.amount - 1e-9:
        raise Unsupported(_out_of_reach(settings, plan))
    inputs, outputs = (_left(graph, found, plan.removed, side) for side in ("in", "out"))
    if settings.compensate and not calibration.fast and not ranked.targets:
        ranked.targets.append(targets_of(graph, calibration.images))
    cut_checked_(graph, found, plan.removed, calibration.images[:4])
    if settings.compensate and calibration.fast:
        refit_at_once_(graph, ranked.rows, inputs, outputs)
    elif settings.compensate:
        refit_(graph, ranked.targets[0], calibration.images, inputs, outputs)
    kept = {group.name: group.units - len(gone) for group, gone in zip(found, plan.removed, strict=True)}
    note = channel_multiple.why(settings.round_to)
    graph.meta["channels"] = Removed(settings.amount, plan.reached, plan.macs, kept, inputs, outputs, note)


def channels_reached(graph: fx.GraphModule, settings: Channels) -> Reached | None:
    """The share of what the settings measure that was asked for, the share that is gone, and which multiple is kept."""
    done = graph.meta.get(settings.kind)
    return done and Reached(settings.kind, settings.measure, done.requested, done.reached, done.note)


@torch.no_grad()
def reachable_amounts(graph: fx.GraphModule, settings: Channels, calibration: Calibration) -> tuple[float, ...]:
    """Every share in (0, 1] that `settings.amount` can hit exactly with the other settings as they are, ascending."""
    ranked, budget = _ranked(copy.deepcopy(graph), settings, calibration)
    return reachable(budget, ranked.orders, uniform=settings.scope == "uniform", round_to=settings.round_to)


def flatten_(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Reshapes that make rows of feature maps say so, and take any number of channels."""
    known = shapes(graph, input_shape)
    for node in graph.graph.nodes:
        if operator_name(node) != "reshape":
            continue
        before, after = known[node.args[0].name], known[node.name]
        if len(before) == 4 and len(after) == 2 and before[0] == after[0] == 1:
            node.target, node.args = aten.flatten.using_ints, (node.args[0], 1)
    graph.recompile()


@torch.no_grad()
def cut_checked_(
    graph: fx.GraphModule, found: tuple[Group, ...], removed: tuple[torch.Tensor, ...], images: torch.Tensor
) -> None:
    """`cut_`, compared on a few images with the network whose readers see zeros in place of the removed channels.

    Raises `Unsupported` where the two differ: then the channels belong together in a way that was not seen.
    """
    expected = Masked(graph, found, removed).run(images)
    cut_(graph, found, removed)
    sentence = "The channels of this network depend on each other in a way that the engine cannot follow."
    try:
        answers = graph(images)
    except RuntimeError as error:
        raise Unsupported(sentence) from error
    if not torch.allclose(answers, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max() + 1)):
        raise Unsupported(sentence)


@torch.no_grad()
def cut_(graph: fx.GraphModule, found: tuple[Group, ...], removed: tuple[torch.Tensor, ...]) -> None:
    """Slices the removed units out of every member's tensors. removed: unit numbers for each group."""
    rewrite_lengths_(graph, found, removed)
    gone: dict[tuple[str, str], list[torch.Tensor]] = {}
    for group, units in zip(found, removed, strict=True):
        for member in group.members:
            taken = member.index[torch.isin(member.unit, units)]
            gone.setdefault((member.name, member.side), []).append(taken)
    for (name, side), parts in gone.items():
        module = graph.get_submodule(name)
        width = module.get_parameter("weight").shape[1 if side == "in" else 0]
        kept = torch.ones(width, dtype=torch.bool)
        kept[torch.cat(parts)] = False
        if not kept.all():
            _slice_(module, side, kept.nonzero()[:, 0])


def _slice_(module: nn.Module, side: str, kept: torch.Tensor) -> None:
    axis, groups = 1 if side == "in" else 0, len(kept) // block_of(module, side)
    module.weight = nn.Parameter(module.weight.index_select(axis, kept))  # type: ignore[operator]
    if side == "out" and getattr(module, "bias", None) is not None:
        module.bias = nn.Parameter(module.bias[kept])  # type: ignore[index]
    if isinstance(module, nn.BatchNorm2d):
        module.running_mean, module.running_var = module.running_mean[kept], module.running_var[kept]  # type: ignore[index]
        module.num_features = len(kept)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels, module.num_groups = len(kept), groups
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(kept)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv2d):
        if module.groups > 1:  # both sides at once
            module.groups = groups
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups


@dataclass(frozen=True)
class _Ranked:
    """What holds for every amount: the groups that may lose channels, their readers' rows, the order of removal.

    `targets` of the dense layers are there as soon as they were needed.
    """

    found: tuple[Group, ...]
    rows: Mapping[str, Rows]
    orders: list[Order]
    targets: list[Targets] = field(default_factory=list)


_KNOWN: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""The rankings of each set of calibration images, by settings and network: a slider move needs no new pass."""


def _ranked(graph: fx.GraphModule, settings: Channels, calibration: Calibration) -> tuple[_Ranked, Budget]:
    """The ranking of this network's channels, from memory where it is known, and what removing them saves."""
    channels, height, width = calibration.images.shape[1:]
    shape = channels, height, width
    flatten_(graph, shape)
    known = _KNOWN.setdefault(calibration.images, {})
    key = (settings.criterion, settings.part, settings.round_to, settings.excluded, digest(graph))
    if key not in known:
        known.clear()  # one network at a time: rows are large
        known[key] = _rank(graph, settings, calibration, shape)
    ranked = known[key]
    return ranked, Budget(layers(graph), macs(graph, shape), ranked.found, count_macs=settings.measure == "macs")


def _rank(graph: fx.GraphModule, settings: Channels, calibration: Calibration, shape: tuple[int, int, int]) -> _Ranked:
    found = _usable(graph, settings, shape)
    readers, targets = {m.name for group in found for m in group.readers()}, list[Targets]()
    if settings.compensate and not calibration.fast:
        rows, all_targets = rows_and_targets_of(graph, readers, calibration.images)
        targets.append(all_targets)
    else:
        rows = rows_of(graph, readers, calibration.images)
    return _Ranked(found, rows, orders(graph, found, settings.criterion, calibration, rows), targets)


def _usable(graph: fx.GraphModule, settings: Channels, shape: tuple[int, int, int]) -> tuple[Group, ...]:
    """The groups that the settings let lose channels: none with a layer that is excluded."""
    coupled, out = coupling(graph, shape), excluded_layers(graph, settings)
    found = tuple(g for g in coupled.groups if not out & {m.name for m in g.makers()})
    allowed = tuple(g for g in found if g.inner or settings.part == "all")
    chosen = tuple(g for g in allowed if g.units > g.multiple(settings.round_to))
    if settings.criterion == "bn_scale":
        chosen = tuple(g for g in chosen if _has_norm(graph, g))
    if chosen:
        return chosen
    widest, beside = (max((g.units * g.width for g in some), default=0) for some in (allowed, found))
    hint = f"; with part 'all' it has {beside}" if beside > widest else ""
    ties = Counter(coupled.reasons.values()).most_common(2) if not coupled.groups else ()
    why = "".join(f" {reason}" for reason, _ in ties)
    raise Unsupported(
        f"No channels can be removed with channels.part {settings.part!r}, criterion {settings.criterion!r} and "
        f"round_to {settings.round_to}{_outside(settings)}: the widest removable layer of this network has "
        f"{widest} channels{hint}.{why}"
    )


def _has_norm(graph: fx.GraphModule, group: Group) -> bool:
    return any(isinstance(graph.get_submodule(m.name), nn.BatchNorm2d) for m in group.makers())


def _left(
    graph: fx.GraphModule, found: tuple[Group, ...], removed: tuple[torch.Tensor, ...], side: str
) -> dict[str, torch.Tensor]:
    """For each layer that will lose channels of one side ('in' or 'out'), which it keeps: bool."""
    left: dict[str, torch.Tensor] = {}
    known = layers(graph)
    for group, gone in zip(found, removed, strict=True):
        for member in group.members if len(gone) else ():
            if member.side == side and member.name in known:
                width = known[member.name].weight.shape[1 if side == "in" else 0]
                kept = left.setdefault(member.name, torch.ones(width, dtype=torch.bool))
                kept[member.index[torch.isin(member.unit, gone)]] = False
    return left


def _out_of_reach(settings: Channels, plan: Plan) -> str:
    noun = "multiply-accumulates" if settings.measure == "macs" else "channels"
    return (
        f"{at_most(plan.reached)} of the {noun} can be removed with channels.part {settings.part!r} and "
        f"round_to {settings.round_to}{_outside(settings)}, not {settings.amount:.1%}."
    )


def _outside(settings: Channels) -> str:
    """How many layers are excluded, for a sentence about what is left."""
    n = len(settings.excluded)
    return f" outside the {n:,} excluded layers" if n > 1 else " outside the excluded layer" if n else ""
