"""Operators that own weights, and dropout, as `torch.nn` modules again: one small function each, one table."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from compression.errors import InvalidModel, Unsupported
from compression.network.graph import FlatNorm, arguments, operator_name, padded, padding_of, pair


def _lift_conv2d(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if weight is None or (a["bias"] is not None and bias is None):
        return None  # computed weights are not a layer's
    groups, padding = a["groups"], a["padding"]
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], pair(weight.shape[2:]), pair(a["stride"]),
        padding if isinstance(padding, str) else pair(padding), pair(a["dilation"]), groups,
        bias=bias is not None, device="meta",
    )  # fmt: skip
    conv = padded(conv, padding_of(conv)) if isinstance(padding, str) else conv  # from here on, always numbers
    return _owner(a["weight"]), _fill(conv, weight=weight, bias=bias), a["input"]


def _lift_linear(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if weight is None or (a["bias"] is not None and bias is None):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _owner(a["weight"]), _fill(linear, weight=weight, bias=bias), a["input"]


def _lift_batch_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node]:
    a = arguments(node)
    rank = node.meta["val"].dim()
    if rank not in (2, 4):
        raise InvalidModel(f"A batch norm reads values of {rank} dimensions; rows (2) and maps (4) are possible.")
    values = {k: _constant(source, a[k]) for k in ("weight", "bias", "running_mean", "running_var")}
    computed = [k for k, value in values.items() if value is None and a[k] is not None]
    if computed:
        raise InvalidModel(f"The {computed[0]} of a batch norm is computed from the image; stored ones are possible.")
    count = len(values["running_mean"])  # type: ignore[arg-type]
    norm = (FlatNorm if rank == 2 else nn.BatchNorm2d)(count, a["eps"], a["momentum"], affine=True)
    return _owner(a["running_mean"]), _fill(norm, **{k: v for k, v in values.items() if v is not None}), a["input"]


def _lift_layer_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    return _norm(source, node, nn.LayerNorm(a["normalized_shape"], a["eps"]))


def _lift_group_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    return _norm(source, node, nn.GroupNorm(a["num_groups"], node.meta["val"].shape[1], a["eps"]))


def _norm(source: fx.GraphModule, node: fx.Node, norm: nn.Module) -> tuple[str, nn.Module, fx.Node] | None:
    """`norm` with the node's weight and bias, which are ones and zeros where it has none; None if they are computed."""
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if (a["weight"] is not None and weight is None) or (a["bias"] is not None and bias is None):
        return None
    return (
        _owner(a["weight"]) if a["weight"] else f"{node.name}_layer",
        _fill(norm, weight=weight, bias=bias),
        a["input"],
    )


def _lift_prelu(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    slopes = _constant(source, a["weight"])
    return (_owner(a["weight"]), _fill(nn.PReLU(len(slopes)), weight=slopes), a["self"]) if slopes is not None else None


def _lift_dropout(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node]:
    return f"{node.name}_module", nn.Dropout(arguments(node)["p"]), node.args[0]  # type: ignore[return-value]


Lifted = Callable[[fx.GraphModule, fx.Node], tuple[str, nn.Module, fx.Node] | None]
LIFT: dict[str, Lifted] = {
    "conv2d": _lift_conv2d,
    "linear": _lift_linear,
    "batch_norm": _lift_batch_norm,
    "layer_norm": _lift_layer_norm,
    "group_norm": _lift_group_norm,
    "prelu": _lift_prelu,
    "dropout": _lift_dropout,
    "dropout_": _lift_dropout,
}


def _fill(module: nn.Module, **tensors: torch.Tensor | None) -> nn.Module:
    """`module` with copies of `tensors` as its parameters and buffers."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        value = tensor.detach().clone().float()
        if name in module._buffers:
            module._buffers[name] = value
        else:
            module._parameters[name] = nn.Parameter(value)
    return module


def _owner(weight: fx.Node) -> str:
    """'layer1.0.conv1' of the tensor 'layer1.0.conv1.weight', 'attention.in_proj' of 'attention.in_proj_weight'."""
    path, _, name = str(weight.target).rpartition(".")
    part = name.removesuffix("_weight")
    return ".".join(filter(None, (path, part if part != name else ""))) or f"{name}_layer"


def attribute(module: nn.Module, path: str) -> Any:
    """What stands at a dotted path below `module`."""
    return operator.attrgetter(path)(module)


def _constant(source: fx.GraphModule, node: fx.Node | None) -> torch.Tensor | None:
    """The stored tensor behind a get_attr node; None where the value is computed or absent."""
    if node is None or node.op != "get_attr":
        return None
    return attribute(source, str(node.target))


def place(root: nn.Module, path: str, value: nn.Module | torch.Tensor) -> None:
    """Puts a module, parameter or buffer at a dotted path below `root`, making what lies between."""
    *parents, leaf = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(value, nn.Module):
        if leaf in root._modules:
            for name, child in root._modules[leaf].named_children():  # type: ignore[union-attr]
                value.add_module(name, child)
        root._modules[leaf] = value
    elif isinstance(value, nn.Parameter):
        root.register_parameter(leaf, nn.Parameter(value.detach().clone()))
    else:
        root.register_buffer(leaf, value.detach().clone())


def stored(source: fx.GraphModule, beside: fx.Node | None, name: str, value: torch.Tensor) -> fx.Node:
    """A new node that reads `value`, stored in the module of the stored tensor `beside` under a name like `name`."""
    owner = str(beside.target).rpartition(".")[0] if beside is not None else ""
    while hasattr(source.get_submodule(owner), name):
        name += "_"
    path = ".".join(filter(None, (owner, name)))
    place(source, path, value)
    return source.graph.get_attr(path)


def sizes_of(node: fx.Node, images: fx.Node) -> list[Any]:
    """The lengths of `node`'s value, as a new node that counts `images` where they depend on how many those are."""
    lengths, batch = list(node.meta["val"].shape), images.meta["val"].shape[0]
    for axis, length in enumerate(lengths):
        if isinstance(length, torch.SymInt):
            if str(length) != str(batch):
                return _solved(lengths, axis)
            lengths[axis] = node.graph.call_function(torch.ops.aten.sym_size.int, (images, 0))
            lengths[axis].meta = {"val": batch}
    return lengths


def _solved(lengths: list[Any], axis: int) -> list[Any]:
    """`lengths`, with -1 for the one that follows from the others."""
    rest = [*lengths[:axis], *lengths[axis + 1 :]]
    if any(isinstance(length, torch.SymInt) for length in rest):
        raise Unsupported("The network writes into a value in which several lengths depend on the number of images.")
    return [*lengths[:axis], -1, *lengths[axis + 1 :]]


def unstripped(value: fx.Node) -> fx.Node:
    """`value` before axes of length one were taken away from its front, as assigning does for a batch of one."""
    while operator_name(value) in ("view", "reshape"):
        before = value.args[0]
        found, left = before.meta["val"].shape, value.meta["val"].shape  # type: ignore[union-attr]
        more = len(found) - len(left)
        if more <= 0 or [str(n) for n in found] != ["1"] * more + [str(n) for n in left]:
            break
        value = before  # type: ignore[assignment]
    return value
