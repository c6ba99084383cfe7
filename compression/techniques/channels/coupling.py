"""Which channels of a network can only be removed together, found by Torch-Pruning's dependency graph.

Fang et al. 2023, "DepGraph: Towards any structural pruning". That graph guesses how channels pass through reshapes,
slices, attention and tensors outside modules, and breaks networks silently where it guesses wrong. It is therefore
shown a copy of the network that is cut at every operator but those of `EXACT` and padding of height and width: channels
that reach a cut are never removed.
"""

import copy
import itertools
import math
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import fx, nn

from compression.network.graph import arguments, module_of, operator_name, shapes
from compression.network.zero_padding import is_spatial


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Has the import of `package` fail meanwhile, unless it was imported before."""
    known = package in sys.modules
    if not known:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not known:
            del sys.modules[package]


with _absent("timm"):  # Torch-Pruning imports it, which takes seconds, to count operations; here none are counted
    import torch_pruning
    from torch_pruning.ops import OPTYPE

ELEMENTWISE = {
    "relu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "silu", "gelu", "elu", "selu",
    "celu", "mish", "softplus", "log_sigmoid", "hardshrink", "clamp", "abs", "neg", "exp", "square",
    "add", "sub", "mul", "rsub", "maximum", "minimum",
}  # fmt: skip
POOLS = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"}
EXACT = ELEMENTWISE | POOLS | {"cat", "flatten"}
"""Operators through which the dependency graph follows channels rightly."""

THROUGH = (nn.BatchNorm2d, nn.GroupNorm, nn.PReLU)
"""Modules that pass channels on and have numbers for each."""

SUMS = ("AddBackward", "SubBackward")


@dataclass(frozen=True)
class Member:
    """Channels `index` of one side of a module belong to the units `unit` of a group, one to one."""

    name: str
    side: Literal["in", "out"]
    index: torch.Tensor
    unit: torch.Tensor


@dataclass(frozen=True)
class Group:
    """Channels that are removed together: `units` of them, as they appear in each member.

    `inner` is False where the channels are added to or concatenated with others: those of a residual stream. An
    attention head is a unit of `width` channels, and so is what a group norm or a grouped convolution takes together;
    `tokens_first` where a head's reader has rows that go by token, then by image.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    inner: bool
    width: int = 1
    tokens_first: bool = False

    def readers(self) -> tuple[Member, ...]:
        """The members that read the channels: removing a channel is reading zero in its place."""
        return tuple(m for m in self.members if m.side == "in")

    def makers(self) -> tuple[Member, ...]:
        """The members that compute the channels."""
        return tuple(m for m in self.members if m.side == "out")

    def multiple(self, round_to: int) -> int:
        """Of how many units a multiple must stay, so that their channels stay a multiple of `round_to`."""
        return round_to // math.gcd(round_to, self.width)


def groups(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> tuple[Group, ...]:
    """The groups of removable channels of a canonical graph of plain modules, in order of execution.

    The classes, the image's channels and whatever reaches another operator are in none. The graph is left as it was.
    """
    shown = _with_ends(graph, input_shape)
    names = {module: name for name, module in shown.named_modules()}
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch_pruning.DependencyGraph().build_dependency(
            shown,
            torch.zeros(1, *input_shape),
            customized_pruners={_End: _Fixed(), _Start: _Fixed()},
            verbose=False,
        )
        coupled = list(found.get_all_groups(ignored_layers=[], root_module_types=(nn.Conv2d, nn.Linear)))
    made = [group for group in (_group(found, items, names) for items in coupled) if group]
    order = {name: i for i, (name, _) in enumerate(graph.named_modules())}
    return tuple(sorted(_in_blocks(graph, made), key=lambda group: order[group.name]))


class _End(nn.Module):
    """Where channels are not followed any further; `channels` of them arrive."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.channels = shape[_axis(shape)]

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """A value of the same shape that a gradient's path ends in."""
        return value * 1


class _Start(nn.Module):
    """Stands for a value, of `shape` for one image, whose channels come from where they are not followed."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.channels = shape, shape[_axis(shape)]

    def forward(self) -> torch.Tensor:
        """Zeros that a gradient's path starts from."""
        return torch.zeros(self.shape, requires_grad=True) * 1


class _Fixed(torch_pruning.pruner.function.BasePruningFunc):
    """Tells Torch-Pruning how many channels there are at an end; groups that reach one are dropped afterwards."""

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        return layer.channels  # type: ignore[return-value]

    get_in_channels = get_out_channels


def _with_ends(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """A copy whose only steps are those of `EXACT`; what others read and give are its ends and starts."""
    known, shown = shapes(graph, input_shape), copy.deepcopy(graph)
    calls = Counter(n.target for n in graph.graph.nodes if n.op == "call_module")
    final, ends = shown.graph.output_node(), []
    for original, node in zip(list(graph.graph.nodes), list(shown.graph.nodes), strict=True):
        if _followed(graph, original, known, calls):
            continue
        for i, value in enumerate(n for n in node.all_input_nodes if n.name in known):
            shown.add_module(f"end_{node.name}_{i}", _End(known[value.name]))
            with shown.graph.inserting_before(final):
                ends.append(shown.graph.call_module(f"end_{node.name}_{i}", (value,)))
        if node.name in known:
            shown.add_module(f"start_{node.name}", _Start(known[node.name]))
            with shown.graph.inserting_after(node):
                node.replace_all_uses_with(shown.graph.call_module(f"start_{node.name}"))
    final.args = (tuple(ends),)
    shown.graph.eliminate_dead_code()
    shown.recompile()
    return shown


def _followed(graph: fx.GraphModule, node: fx.Node, known: dict[str, tuple[int, ...]], calls: Counter[Any]) -> bool:
    module, name = module_of(graph, node), operator_name(node)
    reads = [known[n.name] for n in node.all_input_nodes if n.name in known]
    if module is not None:
        return calls[node.target] == 1 and _followed_module(module, reads[0])
    if name == "cat":
        return len(reads) > 1 and arguments(node)["dim"] in (1, 1 - len(reads[0])) and len(reads[0]) in (2, 4)
    if name == "flatten":
        return len(reads[0]) == 4 and arguments(node)["start_dim"] == 1 and len(known[node.name]) == 2
    if name in ELEMENTWISE:
        channels = {(len(shape), shape[_axis(shape)]) for shape in reads}
        return len(channels) == 1
    return name in POOLS or is_spatial(node)


def _followed_module(module: nn.Module, read: tuple[int, ...]) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 or _is_depthwise(module) or module.groups < module.out_channels
    if isinstance(module, nn.Linear):
        return len(read) in (2, 3) or read[1] != module.in_features
    return isinstance(module, (*THROUGH, nn.Dropout))


def _axis(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 4 else len(shape) - 1


def _group(found: Any, items: Any, names: dict[nn.Module, str]) -> Group | None:
    """Our record of one of Torch-Pruning's groups; None where some of its channels must stay."""
    members, inner = [], True
    for item in items.items:
        kind, module = item.dep.target.type, item.dep.target.module
        if isinstance(module, _End | _Start) or kind in (OPTYPE.OUTPUT, OPTYPE.PARAMETER):
            return None
        if kind == OPTYPE.CONCAT or str(getattr(module, "_grad_fn", "")).startswith(SUMS):
            inner = False
        shared = isinstance(module, nn.PReLU) and module.num_parameters == 1
        if shared or not isinstance(module, (nn.Conv2d, nn.Linear, *THROUGH)):
            continue
        side = _side(found, module, item.dep.handler)
        index, unit = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        if len(index) and int(index.max()) >= _width(module, side):
            return None
        members.append(Member(names[module], side, index, unit))
    units = len(items.items[0].idxs)
    if not any(m.side == "in" for m in members):
        return None
    return Group(names[items.items[0].dep.target.module], units, tuple(members), inner)


def _side(found: Any, module: nn.Module, handler: Any) -> Literal["in", "out"]:
    """A norm, a PReLU and a depthwise convolution pass their channels on: they count as makers."""
    passes_on = isinstance(module, THROUGH) or _is_depthwise(module)
    return "out" if passes_on or found.is_out_channel_pruning_fn(handler) else "in"


def _width(module: nn.Module, side: str) -> int:
    if isinstance(module, nn.Conv2d):
        return module.in_channels if side == "in" else module.out_channels
    return module.get_parameter("weight").shape[1 if side == "in" else 0]


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def block_of(module: nn.Module, side: str) -> int:
    """How many channels of one side a module takes together: those of a group; 1 where it keeps them apart."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels // module.num_groups
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return _width(module, side) // module.groups
    return 1


def _in_blocks(graph: nn.Module, found: list[Group]) -> list[Group]:
    """Groups whose units are all channels that some module takes together, on both its sides.

    A norm's group can only go whole: its mean is over all its channels. A group of a convolution goes with what it
    reads and what it gives. Groups of which that cannot be said of every channel are left out.
    """
    starts = [0, *itertools.accumulate(group.units for group in found)]
    units, joined, stays = _Union(starts[-1]), _Union(len(found)), set[int]()
    for name, block in _blocks(graph, found):
        first, module = block[0], graph.get_submodule(name)
        for place in block:
            units.join(starts[place.group] + place.unit, starts[first.group] + first.unit)
            joined.join(place.group, first.group)
        sides = ("in", "out") if isinstance(module, nn.Conv2d) else ("out",)
        if Counter(place.side for place in block) != {side: block_of(module, side) for side in sides}:
            stays.update(place.group for place in block)
    gone = {joined.root(i) for i in stays}
    together: dict[int, list[int]] = {}
    for i in range(len(found)):
        together.setdefault(joined.root(i), []).append(i)
    made = [_merged(graph, found, parts, starts, units) for root, parts in together.items() if root not in gone]
    return [group for group in made if group]


class _Place(NamedTuple):
    """A channel on one side of a module, as a unit of a group."""

    side: str
    group: int
    unit: int


def _blocks(graph: nn.Module, found: list[Group]) -> Iterator[tuple[str, list[_Place]]]:
    """What each module takes together, with the module's name."""
    blocks: dict[tuple[str, int], list[_Place]] = {}
    for i, group in enumerate(found):
        for member in group.members:
            size = block_of(graph.get_submodule(member.name), member.side)
            if size == 1 and not _is_grouped(graph, member):
                continue
            for channel, unit in zip(member.index.tolist(), member.unit.tolist(), strict=True):
                blocks.setdefault((member.name, channel // size), []).append(_Place(member.side, i, unit))
    for (name, _), block in blocks.items():
        yield name, block


def _is_grouped(graph: nn.Module, member: Member) -> bool:
    """A convolution in groups that is not depthwise: its two sides go together."""
    module = graph.get_submodule(member.name)
    return isinstance(module, nn.Conv2d) and module.groups > 1 and not _is_depthwise(module)


def _merged(graph: nn.Module, found: list[Group], parts: list[int], starts: list[int], units: "_Union") -> Group | None:
    """The groups `parts` as one, whose units are those of `units`; None where a unit has not the same number of
    channels everywhere.
    """
    groups = [found[i] for i in parts]
    roots = [units.root(starts[i] + unit) for i in parts for unit in range(found[i].units)]
    number = {root: n for n, root in enumerate(dict.fromkeys(roots))}
    if len(parts) == 1 and len(number) == groups[0].units:
        return groups[0]
    members: dict[tuple[str, Literal["in", "out"]], list[Member]] = {}
    for i in parts:
        unit_of = torch.tensor([number[units.root(starts[i] + unit)] for unit in range(found[i].units)])
        for m in found[i].members:
            if not (m.side == "in" and _is_grouped(graph, m)):  # cut with its outputs
                members.setdefault((m.name, m.side), []).append(Member(m.name, m.side, m.index, unit_of[m.unit]))
    made = tuple(
        Member(*place, torch.cat([m.index for m in same]), torch.cat([m.unit for m in same]))
        for place, same in members.items()
    )
    counts = [m.unit.bincount(minlength=len(number)) for m in made]
    if not all((count == count[0]).all() for count in counts):
        return None
    width = math.gcd(*(int(count[0]) for count, m in zip(counts, made, strict=True) if m.side == "out"))
    return Group(groups[0].name, len(number), made, all(group.inner for group in groups), width)


class _Union:
    """Disjoint sets of the numbers below n."""

    def __init__(self, n: int):
        self.parent = list(range(n))

    def root(self, i: int) -> int:
        """The number that stands for the set of `i`."""
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """The sets of both become one."""
        self.parent[self.root(i)] = self.root(j)
