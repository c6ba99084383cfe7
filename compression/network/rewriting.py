"""Rewrites of a recorded graph into the operators that the canonical graph knows.

Each function whose name ends in `_` rewrites the graph in place and leaves its answers as they are.
"""

from collections.abc import Sequence
from operator import getitem
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload

from compression.errors import Unsupported
from compression.network import agreement
from compression.network.agreement import TRAINS
from compression.network.functionalization import functionalize_
from compression.network.graph import arguments, operator_name
from compression.network.lifting import attribute, place, stored
from compression.network.recomposition import recompose_
from compression.network.regions import inline_
from compression.network.scatters import without_scatters_

aten = torch.ops.aten

NOTHING = {
    "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "feature_dropout", "feature_dropout_",
    "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_",
}  # fmt: skip
"""Operators that do nothing at inference in a network of floats."""

CASTS = {"to", "_to_copy", "type_as"}
MIXED = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum", "pow"}
"""Arithmetic that PyTorch does on floats and whole numbers alike, and ONNX only on values of one type."""

RESHAPES = {"reshape", "view", "_unsafe_view"}

NEW = {"new_zeros": 0, "new_ones": 1, "new_empty": 0, "new_full": None}
"""Operators that make tensors of a type like another's, and the number that these hold."""

GUARDS = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_guards_fn"}


def rewrite_(source: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Brings a recorded graph for images of input_shape (C, H, W) to pure operators on 32-bit floats, any batch size,
    with what does not depend on the images computed.

    Raises `Unsupported` for operators that draw random numbers, and what the rewrites it calls raise.
    """
    inline_(source)
    _erase_guards_(source)
    _check_draws(source)
    _compute_in_floats_(source)
    functionalize_(source, input_shape)
    recompose_(source)
    _free_the_batch_(source)
    _cast_mixed_(source)
    _fill_without_reading_(source)
    _compute_constants_(source)
    without_scatters_(source)
    _free_the_batch_(source)
    _number_masks_(source)


def _check_draws(source: fx.GraphModule) -> None:
    """Raises `Unsupported` for operators that draw random numbers whatever their settings."""
    for node in source.graph.nodes:
        draws = isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
        if draws and not any(key in arguments(node) for key in TRAINS):
            raise Unsupported(
                f"The network draws random numbers by {operator_name(node)!r}; a fixed answer for each image is needed."
            )


def _erase_guards_(source: fx.GraphModule) -> None:
    """Nothing is asked of the images that is not asked of every network's."""
    for node in [n for n in source.graph.nodes if operator_name(n) in GUARDS or n.target in GUARDS]:
        source.graph.erase_node(node)


def _compute_in_floats_(source: fx.GraphModule) -> None:
    """Whatever a network computes in floats of other widths, by a cast or by itself, is computed in 32 bits."""
    for node in source.graph.nodes:
        if operator_name(node) == "to" and _is_other_float(node.args[0].meta["val"]) != _is_other_float(
            node.meta["val"]
        ):
            node.kwargs = node.kwargs | {"copy": True}  # what is written into the one is not in the other
        if node.op == "get_attr" and _is_other_float(attribute(source, str(node.target))):
            _widen_(source, str(node.target))
        node.args = tuple(torch.float32 if _is_other_float(value) else value for value in node.args)
        node.kwargs = {key: torch.float32 if _is_other_float(value) else value for key, value in node.kwargs.items()}
        if _is_other_float(node.meta.get("val")):
            node.meta["val"] = node.meta["val"].to(torch.float32)


def _is_other_float(value: Any) -> bool:
    dtype = value.dtype if isinstance(value, torch.Tensor) else value
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype != torch.float32


def _widen_(source: fx.GraphModule, path: str) -> None:
    owner, _, name = path.rpartition(".")
    kept = attribute(source, path)
    delattr(source.get_submodule(owner), name)
    value = kept.detach().to(torch.float32)
    place(source, path, nn.Parameter(value) if isinstance(kept, nn.Parameter) else value)


def _free_the_batch_(source: fx.GraphModule) -> None:
    """Reshapes that were traced with a fixed batch size take any, and what is repeated for each image follows it."""
    images = next(node for node in source.graph.nodes if node.op == "placeholder")
    batch = agreement.batch_of(source)
    if batch is None:
        return
    for node in list(source.graph.nodes):
        repeats = operator_name(node) == "expand"
        if not (repeats or operator_name(node) in RESHAPES) or list(node.args[1][:1]) != [batch]:
            continue
        with source.graph.inserting_before(node):
            first = source.graph.call_function(aten.sym_size.int, (images, 0)) if repeats else -1
        node.args = (node.args[0], [first, *node.meta["val"].shape[1:]])


def _cast_mixed_(source: fx.GraphModule) -> None:
    """Arithmetic that gives floats reads floats: PyTorch casts whole numbers and truth values silently."""
    for node in list(source.graph.nodes):
        if operator_name(node).removesuffix("_") not in MIXED or not is_float(node):
            continue
        for read in node.all_input_nodes:
            if isinstance(read.meta.get("val"), torch.Tensor) and not is_float(read):
                with source.graph.inserting_before(node):
                    cast = source.graph.call_function(aten.to.dtype, (read, torch.float32))
                cast.meta["val"] = read.meta["val"].float()
                node.replace_input_with(read, cast)


def _fill_without_reading_(source: fx.GraphModule) -> None:
    """`x.new_zeros(sizes)` reads nothing of x but its type."""
    batch = agreement.batch_of(source)
    for node in source.graph.nodes:
        name = operator_name(node)
        if name not in NEW:
            continue
        sizes, number = arguments(node)["size"], arguments(node).get("fill_value", NEW[name])
        counted = any(isinstance(n, fx.Node) for n in (*sizes, number)) or (len(sizes) > 1 and sizes[0] == batch != 1)
        if not counted:
            node.target, node.args, node.kwargs = aten.full.default, (sizes, number), {"dtype": node.meta["val"].dtype}


def _compute_constants_(source: fx.GraphModule) -> None:
    """What depends on stored tensors alone becomes one, a parameter where it is made of one: positions, scaled weights.

    It is called after the module whose tensor it is made of, so that a layer with computed weights keeps its name.
    """
    parts = dict[fx.Node, Sequence[Any]]()  # tensors that an operator gives as a list
    for node in list(source.graph.nodes):
        reads = node.all_input_nodes
        if node.target is getitem and reads[0] in parts:
            reads, value = reads[0].all_input_nodes, parts[reads[0]][node.args[1]]
        elif node.op != "call_function" or any(read.op != "get_attr" for read in reads):
            continue
        elif operator_name(node) in NOTHING:
            node.replace_all_uses_with(reads[0])
            continue
        else:
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: attribute(source, str(read.target)))
            with torch.no_grad():
                value = node.target(*args, **kwargs)
        if isinstance(value, list | tuple):
            parts[node] = value
        if not isinstance(value, torch.Tensor):
            continue
        learned = any(isinstance(attribute(source, str(read.target)), nn.Parameter) for read in reads)
        with source.graph.inserting_before(node):
            kept = nn.Parameter(value) if learned and value.is_floating_point() else value
            made = stored(source, reads[0] if reads else None, node.name, kept)
        made.meta = node.meta
        node.replace_all_uses_with(made)
        source.graph.erase_node(node)


def _number_masks_(source: fx.GraphModule) -> None:
    """Stored masks that pick from a value become the numbers of the places that they pick."""
    for node in list(source.graph.nodes):
        if operator_name(node) != "index":
            continue
        places: list[Any] = []
        for read in node.args[1]:
            mask = attribute(source, str(read.target)) if read is not None and read.op == "get_attr" else None
            if mask is None or mask.dtype != torch.bool:
                places.append(read)
                continue
            for numbers in mask.nonzero(as_tuple=True):
                with source.graph.inserting_before(node):
                    places.append(stored(source, read, f"{read.name}_places", numbers))
        node.args = (node.args[0], places)


def pure(node: fx.Node) -> fx.Node:
    """The same call with other spellings replaced by the common one."""
    name = operator_name(node)
    if name in RESHAPES and "dtype" not in arguments(node):
        node.target = aten.reshape.default
    elif name in CASTS:
        node.target, node.args, node.kwargs = aten.to.dtype, (node.args[0], node.meta["val"].dtype), {}
    elif name == "squeeze":
        dims, rank = _squeezed(node), node.args[0].meta["val"].dim()  # type: ignore[union-attr]
        if dims and dims == list(range(2, rank)):
            node.target, node.args, node.kwargs = aten.flatten.using_ints, (node.args[0], 1), {}
        else:
            node.target, node.args, node.kwargs = aten.squeeze.dims, (node.args[0], dims), {}
    elif name == "relu6":
        node.target, node.args = aten.hardtanh.default, (node.args[0], 0.0, 6.0)
    elif name in ("clamp", "clip", "clamp_min") and is_float(node):
        a = arguments(node)
        bounds = a["min"], a.get("max")
        if bounds == (0, None):
            node.target, node.args, node.kwargs = aten.relu.default, (node.args[0],), {}
        elif bounds == (0, 6):
            node.target, node.args, node.kwargs = aten.hardtanh.default, (node.args[0], 0.0, 6.0), {}
    return node


def _squeezed(node: fx.Node) -> list[int]:
    """The axes of length one that `node` takes away, never that of the images of a program for a single one."""
    lengths, asked = node.args[0].meta["val"].shape, arguments(node).get("dim")  # type: ignore[union-attr]
    images = next(n for n in node.graph.nodes if n.op == "placeholder").meta["val"].shape[0]
    dims = range(len(lengths)) if asked is None else [asked] if isinstance(asked, int) else asked
    alone = type(images) is int and images == 1
    return sorted(d % len(lengths) for d in dims if (d % len(lengths) or not alone) and lengths[d] == 1)


def is_float(node: Any) -> bool:
    """True for a node whose recorded value is a tensor of 32-bit floats."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32
