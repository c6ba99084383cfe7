"""Writes into tensors as new values: in-place operators, and what they do to values that share memory with them.

PyTorch's views share memory: a write into `x[:, :4]` changes `x`, and `x.flatten(1)` too. Here each write becomes a
pure operator; the tensor that was looked at is put together again with the new part, and every other view of it is
taken anew when it is read next. Which values are views is seen in one run of the network on blank images.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from compression.errors import Unsupported
from compression.network.agreement import Run, batch_of, taking
from compression.network.graph import arguments, operator_name
from compression.network.lifting import sizes_of, unstripped

aten = torch.ops.aten

RENAMED = {"squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_"}
"""In-place operators that change how a tensor is looked at and no number of it."""

RESHAPED = {
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "view_as", "reshape_as",
    "squeeze_", "unsqueeze_",
}  # fmt: skip

PERMUTED = {
    "permute", "transpose", "t", "numpy_T", "mT", "mH", "matrix_H", "adjoint", "movedim", "moveaxis", "swapaxes",
    "swapdims", "t_", "transpose_", "swapaxes_", "swapdims_",
}  # fmt: skip

PUT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "slice": (aten.slice_scatter.default, ("dim", "start", "end", "step")),
    "select": (aten.select_scatter.default, ("dim", "index")),
    "diagonal": (aten.diagonal_scatter.default, ("offset", "dim1", "dim2")),
}
"""What gives a value with the part replaced that a view looks at, and which of the view's arguments it takes."""

LISTS = {"split", "split_with_sizes", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "unsafe_split"}

ASSIGNMENTS = {"__iand__": "bitwise_and", "__ior__": "bitwise_or", "__ixor__": "bitwise_xor"}
"""What `mask &= other` calls, and its pure twins."""

COMPARISONS = {"lt_", "le_", "gt_", "ge_", "eq_", "ne_", "logical_not_", "logical_and_", "logical_or_", "logical_xor_"}
"""Operators whose pure twins answer with truth values, while these keep the type of what they write into."""


def functionalize_(source: fx.GraphModule, shape: tuple[int, int, int]) -> None:
    """Rewrites `source`, which takes images of `shape` (C, H, W), so that no node changes what another gave.

    Raises `Unsupported` where something is written through a view that has no counterpart.
    """
    if any(is_write(node) for node in source.graph.nodes):
        seen = _Looking(source)
        with torch.no_grad(), taking(shape):
            seen.run(torch.zeros(batch_of(source) or 2, *shape), enable_io_processing=False)
        _Writes(source, seen).rewrite_()
        source.graph.eliminate_dead_code()


def is_write(node: fx.Node) -> bool:
    """Whether `node` changes one of its arguments."""
    name = operator_name(node)
    return name in ASSIGNMENTS or (name.endswith("_") and not name.startswith("_"))


class _Looking(Run):
    """Keeps for each node its value's layout (shape, strides, offset) and the node whose memory it shares."""

    def __init__(self, source: fx.GraphModule):
        super().__init__(source)
        self.viewed: dict[fx.Node, fx.Node] = {}
        self.layouts: dict[fx.Node, tuple[Any, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """What the node computes."""
        value = super().run_node(n)
        self.layouts[n], memory = _layout(value), _memory(value)
        reads = n.all_input_nodes[:1] if operator_name(n) == "getitem" else n.all_input_nodes
        for read in reads if memory else ():
            is_part = operator_name(n) != "getitem" or operator_name(read) in LISTS  # others give new values
            if is_part and _memory(self.env[read]) == memory:
                self.viewed.setdefault(n, read)
        return value


def _layout(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(_layout(part) for part in value)
    return (tuple(value.shape), value.stride(), value.storage_offset()) if isinstance(value, torch.Tensor) else ()


def _memory(value: Any) -> int:
    if isinstance(value, list | tuple) and value:
        return _memory(value[0])
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else 0


class _Writes:
    """One pass over the nodes in order.

    A tensor is known by the node that made it. `now` is the node that holds its present value, which is up to date
    while `seen` counts as many writes as the memory that it lies in has had.
    """

    def __init__(self, source: fx.GraphModule, looked: _Looking):
        self.graph, self.layouts, self.viewed = source.graph, looked.layouts, looked.viewed
        self.images = next(node for node in self.graph.nodes if node.op == "placeholder")
        self.base: dict[fx.Node, fx.Node] = {}
        self.held: dict[fx.Node, fx.Node] = {}
        self.same: dict[fx.Node, fx.Node] = {}
        self.now: dict[fx.Node, fx.Node] = {}
        self.seen: dict[fx.Node, int] = {}
        self.writes: dict[fx.Node, int] = {}
        self.views: dict[tuple[Any, ...], fx.Node] = {}

    def rewrite_(self) -> None:
        """Goes through all nodes."""
        for node in list(self.graph.nodes):
            with self.graph.inserting_before(node):
                self._rewrite_(node)
        for node in [n for n in self.graph.nodes if is_write(n)]:  # fills and copies, whose values stand elsewhere
            self.graph.erase_node(node)

    def _rewrite_(self, node: fx.Node) -> None:
        target = node.args[0] if is_write(node) else None
        viewed = self.viewed.get(node)
        viewed = self._tensor(viewed) if viewed is not None else None
        held = self._present(viewed) if viewed is not None else None
        node.args, node.kwargs = fx.map_arg((node.args, node.kwargs), self._read)
        if isinstance(target, fx.Node) and operator_name(node) not in RENAMED:
            self.same[node] = target = self._tensor(target)
            with self.graph.inserting_before(node.next):
                self._write(target, self._pure(node, target))
            return
        self.now[node], self.writes[node], self.seen[node] = node, 0, 0
        if viewed is not None and held is not None:
            self._look(node, viewed, held)
        if isinstance(target, fx.Node):
            node.target = _twin(node)
            self.same[self._tensor(target)] = node

    def _look(self, node: fx.Node, viewed: fx.Node, held: fx.Node) -> None:
        """`node` is a view of `viewed`, which `held` stands for at present."""
        key = (viewed, node.target, str(node.args[1:]), str(node.kwargs))
        if key in self.views and self.layouts[node] != self.layouts[viewed]:
            self.same[node] = self.views[key]
            return
        self.views[key] = node
        self.base[node], self.held[node] = viewed, held
        self.seen[node] = self.writes[self._root(node)]

    def _tensor(self, node: fx.Node) -> fx.Node:
        """The node that made the tensor which `node` is another name of."""
        while node in self.same:
            node = self.same[node]
        return node

    def _root(self, node: fx.Node) -> fx.Node:
        while node in self.base:
            node = self.base[node]
        return node

    def _read(self, node: fx.Node) -> fx.Node:
        """The node that holds what `node`'s tensor, by whatever name, holds now."""
        return self._present(self._tensor(node))

    def _present(self, node: fx.Node) -> fx.Node:
        """The node that holds what the tensor that `node` made holds now."""
        writes = self.writes[self._root(node)]
        if self.seen[node] != writes:
            fresh = self._present(self.base[node])
            self.now[node] = self.graph.node_copy(node, lambda n: fresh if n is self.held[node] else n)
            self.seen[node] = writes
        return self.now[node]

    def _write(self, target: fx.Node, value: fx.Node) -> None:
        """`target` holds `value` from now on, and so does its place in all that it is a view of."""
        changed = [(target, value)]
        while target in self.base:
            view, target = target, self.base[target]
            if operator_name(target) in LISTS:
                value = self._part_put(view, target, value)
                target = self.base[target]
            else:
                value = self._put(view, value)
            changed.append((target, value))
        self.writes[target] += 1
        for tensor, value in changed:
            self.now[tensor], self.seen[tensor] = value, self.writes[target]

    def _put(self, view: fx.Node, value: fx.Node) -> fx.Node:
        """What `view` looks at, with `value` where `view` looks."""
        name, base = operator_name(view), self.base[view]
        whole = self._present(base)
        if self.layouts[view] == self.layouts[base]:
            return value
        if name in RESHAPED:
            return self._made(base, aten.reshape.default, value, sizes_of(base, self.images))
        if name in PERMUTED:
            return self._made(base, aten.permute.default, value, _inverse(view, len(self.layouts[base][0])))
        a = arguments(view)
        if name == "narrow":
            name, a = "slice", a | {"end": a["start"] + a["length"], "step": 1}
        if name not in PUT:
            raise Unsupported(f"The network writes through a view made by {name!r}; slices and reshapes are possible.")
        operator, keys = PUT[name]
        return self._made(base, operator, whole, value, *(a[key] for key in keys))

    def _part_put(self, view: fx.Node, parts: fx.Node, value: fx.Node) -> fx.Node:
        """What was cut in `parts`, with `value` in the place of the part `view`."""
        base, place = self.base[parts], int(view.args[1])  # type: ignore[arg-type]

        whole, dim = self._present(base), _cut_along(parts)
        if operator_name(parts) == "unbind":
            return self._made(base, aten.select_scatter.default, whole, value, dim, place)
        lengths = [layout[0][dim] for layout in self.layouts[parts]]
        begin = sum(lengths[:place])
        end = begin + lengths[place]
        return self._made(base, aten.slice_scatter.default, whole, value, dim, begin, end)

    def _pure(self, node: fx.Node, target: fx.Node) -> fx.Node:
        """The value that `node` writes into `target`."""
        name = operator_name(node)
        if name in ("copy_", "fill_", "zero_"):
            new = node.args[1] if len(node.args) > 1 else 0
            return self._spread(new, target, node.args[0])  # type: ignore[arg-type]
        node.target = _twin(node)
        if name in COMPARISONS and node.meta["val"].dtype != torch.bool:
            kept = self._made(target, aten.to.dtype, node, node.meta["val"].dtype)
            node.meta["val"] = node.meta["val"].to(torch.bool)
            return kept
        return node

    def _spread(self, new: Any, target: fx.Node, present: fx.Node) -> fx.Node:
        """`new`, a value or number, in the shape and type of `target`, which `present` holds."""
        if not isinstance(new, fx.Node):
            return self._made(target, aten.full_like.default, present, new)
        new, dtype = unstripped(new), target.meta["val"].dtype
        if new.meta["val"].dtype != dtype:
            new = self._made(new, aten.to.dtype, new, dtype)
            new.meta["val"] = new.meta["val"].to(dtype)
        if [str(n) for n in new.meta["val"].shape] == [str(n) for n in target.meta["val"].shape]:
            return new
        return self._made(target, aten.expand.default, new, sizes_of(target, self.images))

    def _made(self, like: fx.Node, operator: Callable[..., Any], *args: Any) -> fx.Node:
        """A new node, whose value has the shape of `like`'s."""
        node = self.graph.call_function(operator, args)
        node.meta = {"val": like.meta["val"], "source": ""}
        return node


def _twin(node: fx.Node) -> Any:
    """The pure operator that computes what the in-place `node` writes."""
    name = operator_name(node)
    twin = getattr(aten, ASSIGNMENTS.get(name, name[:-1]), None)
    wanted = [str(a.type) for a in node.target._schema.arguments]  # type: ignore[union-attr]
    for overload in twin.overloads() if twin is not None else ():
        found = getattr(twin, overload)
        if [str(a.type) for a in found._schema.arguments] == wanted:
            return found
    raise Unsupported(f"The network writes into a tensor by {name!r}, which has no counterpart that does not.")


def _inverse(view: fx.Node, rank: int) -> list[int]:
    """The order of axes that undoes the one of `view`, which reads a value of `rank` axes."""
    probe = torch.empty(tuple(range(1, rank + 1)), device="meta")
    target = _twin(view) if is_write(view) else view.target
    order = [length - 1 for length in target(probe, *view.args[1:], **view.kwargs).shape]  # type: ignore[operator]
    return [order.index(axis) for axis in range(rank)]


def _cut_along(parts: fx.Node) -> int:
    """The axis that a list operator cuts along."""
    name = operator_name(parts)
    if name in ("vsplit", "dsplit"):
        return {"vsplit": 0, "dsplit": 2}[name]
    if name == "hsplit":
        return 0 if parts.args[0].meta["val"].dim() == 1 else 1  # type: ignore[union-attr]
    return arguments(parts)["dim"]
