"""Operators that own weights, and dropout, as `torch.nn` modules again: one small function each, one table."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from compression.errors import InvalidModel
from compression.graph import FlatNorm, arguments, pair


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
    mean = _constant(source, a["running_mean"])
    if mean is None:
        raise InvalidModel("A batch norm keeps no running statistics, so its network has no fixed answer per image.")
    rank = node.meta["val"].dim()
    if rank not in (2, 4):
        raise InvalidModel(f"A batch norm reads values of {rank} dimensions; rows (2) and maps (4) are possible.")
    norm = (FlatNorm if rank == 2 else nn.BatchNorm2d)(len(mean), a["eps"], a["momentum"], affine=True)
    values = {k: _constant(source, a[k]) for k in ("weight", "bias", "running_mean", "running_var")}
    computed = [k for k, value in values.items() if value is None and a[k] is not None]
    if computed:
        raise InvalidModel(f"The {computed[0]} of a batch norm is computed from the image; stored ones are possible.")
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
