"""Which channels of a network can only be removed together, found by following them through its canonical graph.

Fang et al. 2023, "DepGraph: Towards any structural pruning", say what is looked for. Here every operator tells how the
channels that it reads and gives correspond (`following`). A value can lose whole slices along one of its axes; where
channels lie across several, as before a channel shuffle or in heads, they go together along the axis that leaves most
to choose from.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import fx

from compression.network.graph import LAYERS, shapes
from compression.techniques.channels.following import Follower
from compression.techniques.channels.slots import core, solved, thin, varying


@dataclass(frozen=True)
class Member:
    """Channels `index` of one side of a module belong to the units `unit` of a group, one to one."""

    name: str
    side: Literal["in", "out"]
    index: torch.Tensor
    unit: torch.Tensor


@dataclass(frozen=True)
class Span:
    """Slices `index` along `axis` of the value of the node `node`, of `shape` for one image, belong to units."""

    node: str
    axis: int
    shape: tuple[int, ...]
    index: torch.Tensor
    unit: torch.Tensor


@dataclass(frozen=True)
class Group:
    """Channels that are removed together: `units` of them, as they appear in each member and in each value.

    `inner` is False where the channels are added to or concatenated with others: those of a residual stream. An
    attention head is a unit of `width` channels, and so is what a group norm or a grouped convolution takes together.
    `sums` are the nodes that sum up over the channels.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    inner: bool
    width: int = 1
    spans: tuple[Span, ...] = field(default=(), repr=False)
    sums: frozenset[str] = frozenset()

    def readers(self) -> tuple[Member, ...]:
        """The members that read the channels: removing a channel is reading zero in its place."""
        return tuple(m for m in self.members if m.side == "in")

    def makers(self) -> tuple[Member, ...]:
        """The members that compute the channels."""
        return tuple(m for m in self.members if m.side == "out")

    def multiple(self, round_to: int) -> int:
        """Of how many units a multiple must stay, so that their channels stay a multiple of `round_to`."""
        return round_to // math.gcd(round_to, self.width)


@dataclass(frozen=True)
class Coupling:
    """The groups of removable channels in order of execution, and for each layer that keeps all its outputs, why."""

    groups: tuple[Group, ...]
    reasons: dict[str, str]


def groups(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> tuple[Group, ...]:
    """The groups of removable channels of a canonical graph of plain modules, in order of execution.

    The classes, the image's channels and whatever reaches an operator that is not followed are in none.
    """
    return coupling(graph, input_shape).groups


@torch.no_grad()
def coupling(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> Coupling:
    """What `groups` gives, with what ties the channels of the layers that keep theirs."""
    seen = Follower(graph, shapes(graph, input_shape))
    seen.follow()
    roots = _closed(seen)
    sliced = {node: _slices(roots[core(labels)]) for node, labels in seen.values.items()}
    alike: dict[Signature, list[Places]] = {}
    for places in _places(seen, roots, sliced):
        alike.setdefault(tuple(sorted(Counter(key for key, _ in places).items())), []).append(places)
    made = [_group(seen, units, sliced) for units in alike.values()]
    order = {name: i for i, (name, _) in enumerate(graph.named_modules())}
    kept = sorted((group for group in made if group), key=lambda group: order[group.name])
    return Coupling(tuple(kept), _reasons(seen, roots, {m.name for group in kept for m in group.makers()}))


def _closed(seen: Follower) -> torch.Tensor:
    """Roots of slots, joined until every value consists of whole slices along one axis: [slots]."""
    roots = seen.joined.solve()
    while True:
        for node, labels in seen.values.items():
            now, kept = thin(roots[core(labels)]), seen.kept_axes.get(node, set())
            among = varying(now)
            if len(among) < 2 and not kept & set(among):
                continue
            allowed = [axis for axis in among if axis not in kept]
            best = max(allowed, key=lambda axis: _choices(now, axis), default=None)
            why = f"They cannot be told apart in the value {node.name!r}."
            seen.joined.tie(now, [axis for axis in among if axis != best], why)
        if not seen.joined.pairs:
            return roots
        roots = seen.joined.solve(roots)


def _choices(labels: torch.Tensor, axis: int) -> int:
    """How many sets of slices along `axis` can be told apart by their slots."""
    slices = labels.movedim(axis, 0).reshape(labels.shape[axis], -1)  # [length, numbers]
    numbers = slices.unique(return_inverse=True)[1]
    count = int(numbers.max()) + 1
    roots = solved(torch.arange(count), numbers[:, :1].expand_as(numbers).reshape(-1), numbers.reshape(-1))
    return len(roots.unique())


@dataclass(frozen=True)
class _Slices:
    """Along which axis a value can lose slices, -1 for none, and the root of each slice: [length]."""

    axis: int
    roots: torch.Tensor


def _slices(labels: torch.Tensor) -> _Slices:
    """labels: roots of a value's slots, which change along one axis at most."""
    labels = thin(labels)
    among = varying(labels)
    if not among:
        return _Slices(-1, labels.reshape(-1)[:1])
    return _Slices(among[0], labels.movedim(among[0], 0).reshape(labels.shape[among[0]], -1)[:, 0])


Key = tuple[str, str]
"""(module, side), or (node, 'value')."""
Places = list[tuple[Key, int]]
"""Where one unit appears: the number of a channel, or of a slice."""
Signature = tuple[tuple[Key, int], ...]


def _places(seen: Follower, roots: torch.Tensor, sliced: dict[fx.Node, _Slices]) -> list[Places]:
    """For each set of slots that may go, in order, where it appears. What is the whole of a value stays."""
    found: dict[int, Places] = {}
    for key, labels in seen.members.items():
        for place, root in enumerate(roots[labels].tolist()):
            found.setdefault(root, []).append((key, place))
    stays = {int(roots[slot]) for slot in seen.joined.reasons}
    for node, slices in sliced.items():
        if slices.axis == -1:
            stays.update(slices.roots.tolist())
            continue
        for place, root in enumerate(slices.roots.tolist()):
            if root in found:
                found[root].append(((node.name, "value"), place))
    return [found[root] for root in sorted(found) if root not in stays]


def _group(seen: Follower, units: list[Places], sliced: dict[fx.Node, _Slices]) -> Group | None:
    """One group of units that appear in the same places equally often; None for a single one, and for what no layer
    reads or makes.
    """
    at: dict[Key, list[tuple[int, int]]] = {}
    for unit, places in enumerate(units):
        for key, place in places:
            at.setdefault(key, []).append((place, unit))
    members, spans = [], []
    nodes = {node.name: node for node in sliced}
    for (name, side), pairs in at.items():
        index, unit_of = torch.tensor(pairs).T
        if side == "value":
            node = nodes[name]
            spans.append(Span(name, sliced[node].axis, tuple(seen.values[node].shape), index, unit_of))
        else:
            members.append(Member(name, side, index, unit_of))  # type: ignore[arg-type]
    makers = [m.name for m in members if m.side == "out" and isinstance(seen.submodule(m.name), LAYERS)]
    if len(units) < 2 or not makers or not any(m.side == "in" for m in members):
        return None
    touched = {span.node for span in spans}
    return Group(
        makers[0], len(units), tuple(members), inner=not touched & {node.name for node in seen.shared},
        width=math.gcd(*(len(m.index) // len(units) for m in members)), spans=tuple(spans),
        sums=frozenset(node.name for node in seen.sums if node.all_input_nodes[0].name in touched),
    )  # fmt: skip


def _reasons(seen: Follower, roots: torch.Tensor, free: set[str]) -> dict[str, str]:
    """For each layer none of whose outputs may go, what ties them."""
    why = {int(roots[slot]): reason for slot, reason in reversed(seen.joined.ties)}
    why |= {int(roots[slot]): reason for slot, reason in reversed(seen.joined.reasons.items())}
    found = {}
    for (name, side), labels in seen.members.items():
        if side == "out" and name not in free and isinstance(seen.submodule(name), LAYERS):
            found[name] = why.get(int(roots[labels[0]]), "No layer reads them.")
    return found
