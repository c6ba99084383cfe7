"""What is written out in a graph about its channels, rewritten for those that are left: lengths, places, stored values.

The graph is run on masked values too, for comparison: what reads removed channels reads zeros.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from compression.network.graph import arguments, channel_axis, operator_name
from compression.network.lifting import attribute, place
from compression.techniques.channels.coupling import Group

aten = torch.ops.aten


@dataclass(frozen=True)
class Left:
    """Which slices along `axis` of a value of `rank` dimensions are left: mask [length], bool."""

    axis: int
    rank: int
    mask: torch.Tensor

    def count(self, start: int = 0, end: int | None = None) -> int:
        """How many of the places from start to end are left."""
        return int(self.mask[start:end].sum())

    def places(self) -> torch.Tensor:
        """Those that are left."""
        return self.mask.nonzero()[:, 0]


def left(found: Sequence[Group], removed: Sequence[torch.Tensor]) -> dict[str, Left]:
    """For each node whose value loses slices, which are left. removed: unit numbers for each group."""
    known: dict[str, Left] = {}
    for group, units in zip(found, removed, strict=True):
        for span in group.spans if len(units) else ():
            full = torch.ones(span.shape[span.axis], dtype=torch.bool)
            mask = known.setdefault(span.node, Left(span.axis, len(span.shape), full)).mask
            mask[span.index[torch.isin(span.unit, units)]] = False
    return known


class Masked(fx.Interpreter):
    """Runs a graph in which layers, and sums over channels, read zeros in place of removed channels."""

    def __init__(self, graph: fx.GraphModule, found: Sequence[Group], removed: Sequence[torch.Tensor]):
        super().__init__(graph)
        self.left, self.sums = left(found, removed), {name for group in found for name in group.sums}
        self.gone: dict[str, torch.Tensor] = {}
        for group, units in zip(found, removed, strict=True):
            for member in group.readers():
                places = member.index[torch.isin(member.unit, units)]
                self.gone[member.name] = torch.cat([self.gone.get(member.name, places[:0]), places])

    def run_node(self, n: fx.Node) -> Any:
        """What the node gives on what it reads."""
        if n.op == "call_module" and n.target in self.gone:
            layer: nn.Module = self.fetch_attr(str(n.target))
            return layer(self._without(n, channel_axis(layer), self.gone[str(n.target)]))
        read = self.left.get(n.all_input_nodes[0].name) if n.name in self.sums else None
        if read is None:
            return super().run_node(n)
        value = self._without(n, read.axis, (~read.mask).nonzero()[:, 0])
        return n.target(value, *n.args[1:], **n.kwargs)  # type: ignore[operator]

    def _without(self, n: fx.Node, axis: int, places: torch.Tensor) -> torch.Tensor:
        return self.env[n.all_input_nodes[0]].index_fill(axis, places, 0.0)


def rewrite_lengths_(graph: fx.GraphModule, found: Sequence[Group], removed: Sequence[torch.Tensor]) -> None:
    """Operators of `graph` take as many channels as are left; stored values lose those that are gone."""
    known, sums = left(found, removed), {name for group in found for name in group.sums}
    for path, own in {str(n.target): known[n.name] for n in graph.graph.nodes if _is_stored(n, known)}.items():
        _slice_stored_(graph, path, own)
    for node in list(graph.graph.nodes):
        reads = node.all_input_nodes
        read = known.get(reads[0].name) if reads else None
        if node.name in sums and operator_name(node) == "mean" and read is not None:
            _average_over_all_(graph, node, read)
        elif operator_name(node) in REWRITE:
            REWRITE[operator_name(node)](node, known.get(node.name), read)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _is_stored(node: fx.Node, known: dict[str, Left]) -> bool:
    return node.op == "get_attr" and node.name in known


def _slice_stored_(graph: fx.GraphModule, path: str, own: Left) -> None:
    value = attribute(graph, path)
    kept = value.detach().index_select(own.axis, own.places())
    owner, _, name = path.rpartition(".")
    delattr(graph.get_submodule(owner), name)
    place(graph, path, nn.Parameter(kept) if isinstance(value, nn.Parameter) else kept)


def _average_over_all_(graph: fx.GraphModule, node: fx.Node, read: Left) -> None:
    """A mean over channels counts those that are gone, as zeros."""
    with graph.graph.inserting_after(node):
        scaled = graph.graph.call_function(aten.mul.Tensor, (node, read.count() / len(read.mask)))
    scaled.meta = dict(node.meta)
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


def _put_(node: fx.Node, **values: Any) -> None:
    """The same call with other arguments, given by name."""
    a = arguments(node) | values
    named = {s.name for s in node.target._schema.arguments if s.kwarg_only}  # type: ignore[union-attr]
    node.args = tuple(value for name, value in a.items() if name not in named)
    node.kwargs = {name: value for name, value in a.items() if name in named}


Rewrite = Callable[[fx.Node, Left | None, Left | None], None]


def _sized(argument: str) -> Rewrite:
    """The operator's lengths stand in `argument`, from its axis `dim` on where it has one."""

    def rewrite_(node: fx.Node, own: Left | None, read: Left | None) -> None:
        if own is None:
            return
        a = arguments(node)
        sizes = list(a[argument])
        at = own.axis - (a["dim"] % (own.rank - len(sizes) + 1) if "dim" in a else 0)
        if 0 <= at < len(sizes) and sizes[at] != -1:
            sizes[at] = -1 if isinstance(sizes[at], fx.Node) else own.count()
            _put_(node, **{argument: sizes})

    return rewrite_


def _along(rewrite_: Callable[[fx.Node, dict[str, Any], Left], None]) -> Rewrite:
    """For operators that cut what they read along `dim`; only where that is the axis that has become shorter."""

    def checked_(node: fx.Node, own: Left | None, read: Left | None) -> None:
        a = arguments(node)
        if read is not None and a["dim"] % read.rank == read.axis:
            rewrite_(node, a, read)

    return checked_


def _slice_(node: fx.Node, a: dict[str, Any], read: Left) -> None:
    start, end, _ = slice(a["start"], a["end"]).indices(len(read.mask))
    first = read.count(0, start)
    _put_(node, start=first, end=first + read.count(start, end))


def _narrow_(node: fx.Node, a: dict[str, Any], read: Left) -> None:
    start = a["start"] % len(read.mask)
    _put_(node, start=read.count(0, start), length=read.count(start, start + a["length"]))


def _split_(node: fx.Node, a: dict[str, Any], read: Left) -> None:
    total = len(read.mask)
    sizes = a.get("split_sizes") or a.get("split_size") or -(-total // a["chunks"])
    sizes = [min(sizes, total - i) for i in range(0, total, sizes)] if isinstance(sizes, int) else sizes
    ends = list(itertools.accumulate(sizes))
    counts = [read.count(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    node.target, node.args, node.kwargs = aten.split_with_sizes.default, (a["self"], counts, a["dim"]), {}


def _pad_(node: fx.Node, own: Left | None, read: Left | None) -> None:
    pads = list(arguments(node)["pad"])
    at = 2 * (own.rank - 1 - own.axis) if own is not None else len(pads)
    if own is not None and at < len(pads):
        before, after = pads[at : at + 2]
        pads[at : at + 2] = own.count(0, before), own.count(len(own.mask) - after)
        _put_(node, pad=pads)


REWRITE: dict[str, Rewrite] = {
    "reshape": _sized("shape"), "unflatten": _sized("sizes"), "expand": _sized("size"), "slice": _along(_slice_),
    "narrow": _along(_narrow_), "split": _along(_split_), "split_with_sizes": _along(_split_),
    "chunk": _along(_split_), "pad": _pad_, "constant_pad_nd": _pad_,
}  # fmt: skip
