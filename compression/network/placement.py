"""Which operators of a graph compute on 8-bit codes, where not all that can do: a placement, the set of their names."""

from collections.abc import Collection
from typing import Any

import torch
from torch import fx, nn

from compression.network.graph import LAYERS, arguments, is_size, module_of, operator_name, pair, part_paths

PLACEMENT = "placement"
"""Key of `graph.meta`: the names of the nodes that compute on codes (frozenset). Without it, all do that can."""

INTEGER = {"add", "cat", "mul", "avg_pool2d", "adaptive_avg_pool2d"}
"""Operators besides the layers that ONNX Runtime computes on 8-bit inputs."""

GATES: dict[str, Any] = {"silu": torch.ops.aten.sigmoid.default, "hardswish": torch.ops.aten.hardsigmoid.default}
"""Operators x · g(x), and their g. Placed in integers they become two operators, as ONNX Runtime has kernels for."""

ONLY_PLACED = {"sigmoid", "hardsigmoid", "leaky_relu"} | set(GATES)
"""Operators that pay in integers only between others that are: no rule without a placement puts them there."""

GATE, PRODUCT = "_gate", "_product"
"""What the names of a gate's two parts end with."""


def placeable(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes that can compute on codes: layers, and operators with an integer kernel that read values alone."""
    return [node for node in graph.graph.nodes if isinstance(module_of(graph, node), LAYERS) or _has_kernel(node)]


def is_value(node: fx.Node) -> bool:
    """True for images, feature maps and scores; false for stored tensors, sizes, whole numbers and truth values."""
    whole = getattr(node.meta.get("val"), "dtype", torch.float32) != torch.float32
    return node.op in ("placeholder", "call_module", "call_function") and not is_size(node) and not whole


def has_integer_kernel(node: fx.Node) -> bool:
    """Whether ONNX Runtime computes an operator on 8-bit inputs, and rightly: its integer average of windows that reach
    beyond a padded edge is another than that of floats.
    """
    name = operator_name(node)
    beyond = name == "avg_pool2d" and arguments(node)["ceil_mode"] and any(pair(arguments(node)["padding"]))
    return name in INTEGER and not is_size(node) and not beyond


def place_(graph: fx.GraphModule, names: Collection[str]) -> None:
    """Has the nodes `names` of `graph` compute on codes and no others; gates among them become two operators each.

    Where a layer has become a product of several, all of them do what it did. Names that the graph lacks are left out.
    """
    placed = set(names) | {part for name in names for part in part_paths(name)}
    for node in list(graph.graph.nodes):
        if node.name in placed and operator_name(node) in GATES:
            placed |= {part.name for part in _taken_apart(graph, node)}
    graph.recompile()
    graph.meta[PLACEMENT] = frozenset(placed)


def origin(name: str) -> str:
    """The operator that a node of this name is, or is a part of."""
    return name.removesuffix(GATE).removesuffix(PRODUCT)


def _taken_apart(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Replaces x · g(x) by its gate and the product."""
    x, (multiply, gate) = node.args[0], (torch.ops.aten.mul.Tensor, GATES[operator_name(node)])
    with graph.graph.inserting_before(node):
        inner = graph.graph.create_node("call_function", gate, (x,), name=node.name + GATE)
        product = graph.graph.create_node("call_function", multiply, (x, inner), name=node.name + PRODUCT)
    inner.meta, product.meta = dict(node.meta), dict(node.meta)
    node.replace_all_uses_with(product)
    graph.graph.erase_node(node)
    return inner, product


def _has_kernel(node: fx.Node) -> bool:
    name = operator_name(node)
    if not is_value(node) or not (has_integer_kernel(node) or name in ONLY_PLACED):
        return False
    if name in ("add", "mul"):
        a = arguments(node)
        return all(isinstance(part, fx.Node) and is_value(part) for part in (a["self"], a["other"])) and (
            a.get("alpha", 1) == 1
        )
    return all(is_value(read) for read in node.all_input_nodes)


def gives_floats_as_readily(module: nn.Module | None) -> bool:
    """Whether an integer kernel of this layer gives floats at no further cost: those of linear layers do."""
    return isinstance(module, nn.Linear)
