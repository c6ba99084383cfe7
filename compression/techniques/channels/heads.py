"""Attention heads as channels: which outputs of the layers before an attention, and which inputs of the layer after it,
belong to each head.

Michel et al. 2019, "Are sixteen heads really better than one?". Between those layers and the attention stand only
reshapes, transpositions and selections, and every library writes them differently. They are not recognised by their
form: the numbers of the channels are sent through them, and a channel belongs to the head that its number arrives at.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from compression.network.graph import module_of, operator_name
from compression.techniques.channels.coupling import Group, Member

MOVES = {
    "reshape", "unflatten", "flatten", "unsqueeze", "squeeze", "transpose", "permute", "select", "getitem", "unbind",
    "chunk",
}  # fmt: skip
"""Operators that put values elsewhere and change none."""

ATTENTION = "scaled_dot_product_attention"
IMAGES = 2
"""Images that are sent through, so that a length that counts images is not taken for one that counts heads."""


@dataclass(frozen=True)
class Attention:
    """The heads of one attention as a group of units, and where their number is written out in the graph.

    lengths: (reshape or unflatten, which of its lengths grows with the number of heads).
    """

    group: Group
    lengths: tuple[tuple[fx.Node, int], ...]


@torch.no_grad()
def attentions(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> tuple[Attention, ...]:
    """The attentions with two heads or more whose heads can be told apart, in order of execution."""
    nodes = [node for node in graph.graph.nodes if operator_name(node) == ATTENTION]
    if not nodes:
        return ()
    run = _Numbers(graph)
    run.run(torch.zeros(IMAGES, *input_shape))
    found = [_attention(graph, node, run.values) for node in nodes]
    return tuple(attention for attention in found if attention is not None)


def free_heads_(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Lengths that say how many heads there are become -1, which takes any number of them."""
    for attention in attentions(graph, input_shape):
        for node, place in attention.lengths:
            *others, lengths = node.args
            node.args = (*others, [-1 if i == place else n for i, n in enumerate(lengths)])  # type: ignore[arg-type]
    graph.graph.eliminate_dead_code()
    graph.recompile()


class _Numbers(fx.Interpreter):
    """Runs a graph whose linear layers answer the numbers of their channels, whose attentions those of their heads.

    `values` is what every node gave.
    """

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        layer = module_of(self.module, n)  # type: ignore[arg-type]
        if isinstance(layer, nn.Linear):
            read = self.env[n.args[0]]  # type: ignore[index]
            value = torch.arange(float(layer.out_features)).expand(*read.shape[:-1], -1)
        elif operator_name(n) == ATTENTION:
            value = _across(super().run_node(n), 1)
        else:
            value = super().run_node(n)
        self.values[n] = value
        return value


def _attention(graph: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> Attention | None:
    """None where something else than `MOVES` touches the values, or where heads do not consist of whole channels."""
    ways = [_way_back(graph, argument) for argument in node.args[:3]]
    moved = _way_on(graph, node)
    if len(node.args) > 3 or set(node.kwargs) - {"scale"} or moved is None or any(way is None for way in ways):
        return None
    *moved, reader = moved
    makers = _heads_of_makers(graph, node, [way for way in ways if way], values)
    columns = _same_rows(values[reader.all_input_nodes[0]])
    heads = values[node].shape[1]
    if makers is None or columns is None or heads < 2:
        return None
    lengths = [length for way in ways if way for length in _lengths(way[1:], makers[way[0]], values)]
    lengths += _lengths(moved, torch.arange(heads), values)
    private = {*moved, node, *(n for way in ways if way for n in way)}
    if not all(user in private | {reader} for n in private for user in n.users) or not all(map(_can_be_free, lengths)):
        return None
    members = [_member(maker, "out", of) for maker, of in makers.items()] + [_member(reader, "in", columns)]
    group = Group(
        members[0].name, heads, tuple(members), inner=True, width=len(columns) // heads,
        tokens_first=_tokens_first(node, moved, values),
    )  # fmt: skip
    return Attention(group, tuple(dict.fromkeys(lengths)))


def _way_back(graph: fx.GraphModule, node: Any) -> list[fx.Node] | None:
    """From the linear layer that computes `node`'s value up to `node`, only `MOVES` between."""
    way = [node]
    while operator_name(way[0]) in MOVES:
        way.insert(0, way[0].args[0])
    return way if _is_called_once(graph, way[0]) else None


def _way_on(graph: fx.GraphModule, node: fx.Node) -> list[fx.Node] | None:
    """From behind `node` up to the linear layer that alone reads its value, only `MOVES` between."""
    way: list[fx.Node] = []
    while len(node.users) == 1:
        node = next(iter(node.users))
        way.append(node)
        if operator_name(node) not in MOVES:
            break
    return way if way and _is_called_once(graph, way[-1]) else None


def _is_called_once(graph: fx.GraphModule, node: fx.Node) -> bool:
    calls = [n for n in graph.graph.nodes if n.op == "call_module" and n.target == node.target]
    return isinstance(module_of(graph, node), nn.Linear) and len(calls) == 1


def _heads_of_makers(
    graph: fx.GraphModule, node: fx.Node, ways: list[list[fx.Node]], values: dict[fx.Node, Any]
) -> dict[fx.Node, torch.Tensor] | None:
    """For each layer before the attention, the head of each of its channels [out]; None where some have none."""
    found: dict[fx.Node, torch.Tensor] = {}
    for way in ways:
        numbers = values[way[-1]]  # [images, heads, places, d]
        if numbers.dim() != 4 or not torch.equal(numbers, numbers[:1, :, :1].expand_as(numbers)):
            return None
        layer = graph.get_submodule(str(way[0].target))
        of = found.setdefault(way[0], torch.full((layer.out_features,), -1))  # type: ignore[arg-type]
        of[numbers[0, :, 0].long()] = torch.arange(numbers.shape[1])[:, None].expand(numbers[0, :, 0].shape)
    heads = values[node].shape[1]
    equal = all(torch.equal(of.sort().values.unique(), torch.arange(heads)) for of in found.values())
    return found if equal and all((of.bincount() == len(of) // heads).all() for of in found.values()) else None


def _lengths(moves: list[fx.Node], head: torch.Tensor, values: dict[fx.Node, Any]) -> list[tuple[fx.Node, int]]:
    """Where the number of heads is written out on a way; `head` tells the head of each number that goes there.

    Place -1 where the values of a head are no whole slices.
    """
    found = []
    for node in moves:
        if operator_name(node) not in ("reshape", "unflatten"):
            continue
        first = head[values[node].long()] == 0
        axis, written = _axis_of(first), len(node.args[-1])  # type: ignore[arg-type]
        start = 0 if operator_name(node) == "reshape" else int(node.args[1]) % (first.dim() - written + 1)  # type: ignore[arg-type]
        if axis == -1 or start <= axis < start + written:
            found.append((node, axis - start if axis != -1 else -1))
    return found


def _axis_of(first: torch.Tensor) -> int:
    """The axis whose slices are wholly True or wholly False; -1 where there is none."""
    for axis in range(first.dim()):
        slices = first.movedim(axis, 0).flatten(1)
        if bool((slices == slices[:, :1]).all()) and not bool(first.all()):
            return axis
    return -1


def _can_be_free(length: tuple[fx.Node, int]) -> bool:
    node, place = length
    return place >= 0 and all(n != -1 for i, n in enumerate(node.args[-1]) if i != place)  # type: ignore[arg-type]


def _tokens_first(node: fx.Node, moves: list[fx.Node], values: dict[fx.Node, Any]) -> bool:
    """Whether the layer after the attention reads all images' first tokens before their second ones."""
    value = _across(values[node], 0)
    for move in moves:
        args = fx.node.map_arg(move.args, lambda n: value if n is move.args[0] else values[n])  # noqa: B023
        value = move.target(*args)  # type: ignore[operator]
    rows = value.flatten(0, -2)[:, 0]
    return bool(rows[0] != rows[1])


def _across(value: torch.Tensor, axis: int) -> torch.Tensor:
    """A value of the same shape that holds the position along `axis`."""
    shape = [-1 if i == axis else 1 for i in range(value.dim())]
    return torch.arange(float(value.shape[axis])).reshape(shape).expand_as(value)


def _same_rows(value: torch.Tensor) -> torch.Tensor | None:
    """The row that all rows of [..., n] are equal to, as whole numbers [n]."""
    rows = value.flatten(0, -2)
    return rows[0].long() if torch.equal(rows, rows[:1].expand_as(rows)) else None


def _member(node: fx.Node, side: Any, head: torch.Tensor) -> Member:
    return Member(str(node.target), side, torch.arange(len(head)), head)
