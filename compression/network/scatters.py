"""Values with a part replaced, and values of one number, as operators that files have: cat, index_select, expand.

PyTorch's functional form of `x[:, :4] = y` is `slice_scatter(x, y, 1, 0, 4)`. Here it becomes
`cat([y, x[:, 4:]], 1)`, as the network could have been written, so that channels are followed through it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from compression.errors import Unsupported
from compression.network.graph import arguments, operator_name
from compression.network.lifting import attribute, sizes_of, stored, unstripped

aten = torch.ops.aten

FAR = 2**62
"""Ends of slices beyond this mean all that there is."""


def without_scatters_(source: fx.GraphModule) -> None:
    """Rewrites each scatter and fill of `source` that has a form of its own in files."""
    for node in list(source.graph.nodes):
        write = WITHOUT.get(operator_name(node))
        if write is None:
            continue
        with source.graph.inserting_before(node):
            new = write(_Writer(source, node), arguments(node))
        if new is not None and new is not node:
            node.replace_all_uses_with(new)
            source.graph.erase_node(node)
    source.graph.eliminate_dead_code()


class _Writer:
    """Writes the nodes that replace `node`."""

    def __init__(self, source: fx.GraphModule, node: fx.Node):
        self.source, self.node, self.graph = source, node, source.graph
        self.images = next(n for n in source.graph.nodes if n.op == "placeholder")

    def call(self, like: fx.Node, operator: Callable[..., Any], *args: Any, shape: list[Any] | None = None) -> fx.Node:
        """A new node whose value has the type of `like`'s, and its shape where no other is said."""
        made, value = self.graph.call_function(operator, args), like.meta["val"]
        made.meta = dict(like.meta) | {"source": "", "val": value if shape is None else value.new_empty(shape)}
        return made

    def part(self, base: fx.Node, dim: int, start: int, end: int) -> list[fx.Node]:
        """A slice of `base`; nothing where it is empty."""
        shape = _shape(base, dim, end - start)
        return [self.call(base, aten.slice.Tensor, base, dim, start, end, shape=shape)] if start < end else []

    def last(self, operator: Callable[..., Any], *args: Any) -> fx.Node:
        """The node that gives what `node` gave."""
        made = self.call(self.node, operator, *args)
        made.meta["source"] = self.node.meta.get("source", self.node.name)
        return made

    def over(self, base: fx.Node, value: fx.Node, dim: int, places: list[int]) -> fx.Node:
        """`base` with `value` at `places` of its axis `dim`; where a place stands twice, its last value."""
        length = base.meta["val"].shape[dim]
        if not places or places == list(range(length)):
            return value if places else base
        base = self.each(base)
        if places == list(range(places[0], places[-1] + 1)):
            before, after = self.part(base, dim, 0, places[0]), self.part(base, dim, places[-1] + 1, length)
            return self.last(aten.cat.default, [*before, value, *after], dim)
        table = list(range(length))
        for i, place in enumerate(places):
            table[place % length] = length + i
        both = self.call(base, aten.cat.default, [base, value], dim, shape=_shape(base, dim, length + len(places)))
        return self.last(aten.index_select.default, both, dim, self.kept(torch.tensor(table)))

    def each(self, base: fx.Node) -> fx.Node:
        """A stored tensor that stands for a batch of a fixed size, for each image of any."""
        shape = base.meta["val"].shape
        if base.op == "get_attr" and len(shape) > 1 and shape[0] == 1 and str(self.images.meta["val"].shape[0]) == "1":
            return self.call(base, aten.expand.default, base, list(shape))
        return base

    def kept(self, tensor: torch.Tensor) -> fx.Node:
        """A node that reads `tensor`, stored in the network."""
        read = stored(self.source, None, f"{self.node.name}_kept", tensor)
        read.meta = {"val": tensor}
        return read

    def axis(self, base: fx.Node, dim: int) -> tuple[int, int | None]:
        """An axis counted from the front, and its length; None where that is the number of images."""
        shape = base.meta["val"].shape
        length = shape[dim]
        return dim % len(shape), length if isinstance(length, int) else None


def is_whole(node: fx.Node) -> bool:
    """Whether `node` is a slice of all that there is along its axis."""
    if operator_name(node) != "slice":
        return False
    a = arguments(node)
    length = a["self"].meta["val"].shape[a["dim"]]
    end = a["end"] is None or (a["end"] >= (length if isinstance(length, int) else FAR))
    return not a["start"] and end and a["step"] == 1


def _slice_scatter(w: _Writer, a: dict[str, Any]) -> fx.Node:
    dim, length = w.axis(a["self"], a["dim"])
    if length is None:
        if a["start"] or (a["end"] is not None and a["end"] < FAR) or a["step"] != 1:
            raise Unsupported("The network writes into some images of a batch; all are answered alike here.")
        return a["src"]
    return w.over(a["self"], a["src"], dim, list(range(length))[a["start"] : a["end"] : a["step"]])


def _select_scatter(w: _Writer, a: dict[str, Any]) -> fx.Node:
    dim, length = w.axis(a["self"], a["dim"])
    if length is None:
        raise Unsupported("The network writes into one image of a batch; all are answered alike here.")
    value = w.call(a["self"], aten.unsqueeze.default, a["src"], dim, shape=_shape(a["self"], dim, 1))
    return w.over(a["self"], value, dim, [a["index"] % length])


def _diagonal_scatter(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    """By the places of the diagonal among all numbers of an image."""
    shape = a["self"].meta["val"].shape
    if not all(isinstance(length, int) for length in shape[1:]) or 0 in (
        a["dim1"] % len(shape),
        a["dim2"] % len(shape),
    ):
        return None
    numbers = torch.arange(torch.Size(shape[1:]).numel()).reshape(1, *shape[1:])
    places = numbers.diagonal(a["offset"], a["dim1"], a["dim2"]).flatten()
    table = numbers.flatten()
    table[places] = len(table) + torch.arange(len(places))
    flat = [w.call(part, aten.flatten.using_ints, part, 1) for part in (w.each(a["self"]), a["src"])]
    both = w.call(a["self"], aten.cat.default, flat, 1)
    mixed = w.call(a["self"], aten.index_select.default, both, 1, w.kept(table))
    return w.last(aten.reshape.default, mixed, [-1, *shape[1:]])


def _index_put(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    given = [(axis, read) for axis, read in enumerate(a["indices"]) if read is not None]
    if a["accumulate"] or len(given) != 1:
        return None
    axis, read = given[0]
    if read.op == "get_attr":
        places = attribute(w.source, str(read.target))
        places = places.nonzero(as_tuple=True) if places.dtype == torch.bool else (places,)
        return _at(w, a["self"], axis, places[0], a["values"]) if len(places) == 1 else None
    picked = read.meta["val"]
    if (
        picked.dtype == torch.bool
        and axis == 0
        and picked.dim() == a["self"].meta["val"].dim()
        and _is_one(a["values"])
    ):
        return w.last(aten.where.self, read, a["values"], a["self"])
    return None


def _diagonal(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    """By the places of the diagonal among all numbers of an image."""
    shape = a["self"].meta["val"].shape
    if not all(isinstance(length, int) for length in shape[1:]) or 0 in (
        a["dim1"] % len(shape),
        a["dim2"] % len(shape),
    ):
        return None
    numbers = torch.arange(torch.Size(shape[1:]).numel()).reshape(1, *shape[1:])
    places = numbers.diagonal(a["offset"], a["dim1"], a["dim2"])
    flat = w.call(a["self"], aten.flatten.using_ints, a["self"], 1)
    picked = w.call(w.node, aten.index_select.default, flat, 1, w.kept(places.flatten()))
    return w.last(aten.reshape.default, picked, [-1, *places.shape[1:]])


def _parts(w: _Writer, a: dict[str, Any]) -> fx.Node:
    """Parts whose sizes are known, whatever was asked for."""
    dim = {"vsplit": 0, "dsplit": 2}.get(operator_name(w.node), a.get("dim", 1))
    return w.last(aten.split_with_sizes.default, a["self"], [part.shape[dim] for part in w.node.meta["val"]], dim)


def _is_one(value: fx.Node) -> bool:
    return all(length == 1 for length in value.meta["val"].shape if isinstance(length, int)) and not any(
        isinstance(length, torch.SymInt) for length in value.meta["val"].shape
    )


def _index_copy(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    read = a["index"]
    return (
        _at(w, a["self"], a["dim"], attribute(w.source, str(read.target)), a["source"])
        if read.op == "get_attr"
        else None
    )


def _index_fill(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    read, value = a["index"], a["value"]
    if read.op != "get_attr":
        return None
    value = value if isinstance(value, fx.Node) else w.kept(torch.tensor(value, dtype=a["self"].meta["val"].dtype))
    return _at(w, a["self"], a["dim"], attribute(w.source, str(read.target)), value)


def _at(w: _Writer, base: fx.Node, dim: int, places: torch.Tensor, values: fx.Node) -> fx.Node | None:
    """`base` with `values`, spread to as many as there are, at stored places of one axis."""
    dim, length = w.axis(base, dim)
    if length is None or places.dim() != 1:
        return None
    values = unstripped(values)
    lengths = sizes_of(base, w.images)
    lengths[dim] = len(places)
    if [str(n) for n in values.meta["val"].shape] != [str(n) for n in _shape(base, dim, len(places))]:
        values = w.call(base, aten.expand.default, values, lengths, shape=_shape(base, dim, len(places)))
    return w.over(base, values, dim, [int(place) % length for place in places])


def _shape(base: fx.Node, dim: int, count: int) -> list[Any]:
    shape = list(base.meta["val"].shape)
    return [*shape[:dim], count, *shape[dim + 1 :]]


def _copy(w: _Writer, a: dict[str, Any]) -> fx.Node:
    """Functional `copy`: the second value in the shape and type of the first."""
    new, like = unstripped(a["src"]), w.node.meta["val"]
    if new.meta["val"].dtype != like.dtype:
        new = w.call(new, aten.to.dtype, new, like.dtype)
        new.meta["val"] = new.meta["val"].to(like.dtype)
    if [str(n) for n in new.meta["val"].shape] == [str(n) for n in like.shape]:
        return new
    return w.last(aten.expand.default, new, sizes_of(w.node, w.images))


def _filled(w: _Writer, a: dict[str, Any]) -> fx.Node | None:
    """One number for each of a value's, whatever those are: a stored one, for each image."""
    number = {"zeros": 0, "ones": 1, "zero": 0, "empty": 0}.get(
        operator_name(w.node).removeprefix("new_").removesuffix("_like"), a.get("fill_value", a.get("value"))
    )
    value = w.node.meta["val"]
    counted = value.dim() > 0 and str(value.shape[0]) == str(w.images.meta["val"].shape[0])
    if isinstance(number, fx.Node) or not counted or any(isinstance(n, torch.SymInt) for n in value.shape[1:]):
        return None
    kept = w.kept(torch.full([1] * value.dim(), float(number)))  # type: ignore[arg-type]
    each = w.last(aten.expand.default, kept, sizes_of(w.node, w.images))
    if value.dtype == torch.float32:
        return each
    each.meta["val"] = value.to(torch.float32)
    return w.last(aten.to.dtype, each, value.dtype)


WITHOUT: dict[str, Callable[[_Writer, dict[str, Any]], fx.Node | None]] = {
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter, "diagonal_scatter": _diagonal_scatter,
    "index_put": _index_put, "index_copy": _index_copy, "index_fill": _index_fill, "copy": _copy,
    "diagonal": _diagonal, "tensor_split": _parts, "hsplit": _parts, "vsplit": _parts, "dsplit": _parts,
} | dict.fromkeys(
    ("full_like", "zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "zeros",
     "ones", "full", "empty", "fill", "zero"), _filled,
)  # fmt: skip
