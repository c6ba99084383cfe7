"""Which values of the graph are kept in 8 bits: the rule, once.

Calibration observes the values that this rule names, the torch simulation rounds them, and the exporter writes a
QuantizeLinear/DequantizeLinear pair at each: the three cannot disagree.
"""

import torch
from torch import fx, nn

from compression.network.graph import (
    LAYERS,
    arguments,
    folded_norm,
    is_size,
    module_of,
    only_reader,
    operator_name,
    pair,
)

PASS = {
    "max_pool2d", "flatten", "reshape", "transpose", "permute", "chunk", "split", "split_with_sizes", "getitem",
    "squeeze", "unsqueeze", "slice", "select", "unflatten",
}  # fmt: skip
"""Operators that only move or pick values: what comes out keeps the scale of what went in."""

LISTS = {"chunk", "split", "split_with_sizes"}
"""Operators that return several values; each is a 'getitem' of its own."""

INTEGER = {"add", "cat", "mul", "avg_pool2d", "adaptive_avg_pool2d"}
"""Operators besides the layers that ONNX Runtime computes on 8-bit inputs."""

CLIPS = {"relu": (0.0, float("inf")), "hardtanh": (0.0, 6.0)}
"""Activations that a quantizer with zero-point 0 performs by itself."""


def quantized_values(graph: fx.GraphModule) -> dict[str, str]:
    """Node name → name of the value whose scale it carries (its own, or that of the value it was picked from).

    A value is quantized where an integer operator reads it, unless it lies inside a chain that runs as one kernel
    (layer, batch norm, clip; add, clip) or is the network's answer.
    """
    found: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if _passes(graph, node):
            if node.args[0] in found:
                found[node] = found[node.args[0]]
        elif _is_value(node) and not _inside_a_kernel(graph, node) and _read_as_integers(graph, node):
            found[node] = node.name
    return {node.name: owner for node, owner in found.items() if operator_name(node) not in LISTS}


def clip_of(node: fx.Node) -> tuple[float, float] | None:
    """The range an activation node cuts its input to, if that is all it does."""
    name = operator_name(node)
    if name == "hardtanh" and tuple(node.args[1:3]) not in ((0, 6), (0.0, 6.0)):
        return None
    return CLIPS.get(name)


def _passes(graph: fx.GraphModule, node: fx.Node) -> bool:
    """True where `node` only moves or picks values."""
    maker = node.args[0] if operator_name(node) == "getitem" else node
    return operator_name(maker) in PASS or isinstance(module_of(graph, node), nn.Dropout)  # type: ignore[arg-type]


def _is_value(node: fx.Node) -> bool:
    """True for images, feature maps and scores; false for stored tensors, sizes, whole numbers and truth values."""
    whole = getattr(node.meta.get("val"), "dtype", torch.float32) != torch.float32
    return node.op in ("placeholder", "call_module", "call_function") and not is_size(node) and not whole


def _inside_a_kernel(graph: fx.GraphModule, node: fx.Node) -> bool:
    reader = only_reader(node)
    if reader is None:
        return False
    starts = isinstance(module_of(graph, node), (*LAYERS, nn.BatchNorm2d)) or operator_name(node) == "add"
    return starts and (folded_norm(graph, node) is not None or clip_of(reader) is not None)


def _has_integer_kernel(node: fx.Node) -> bool:
    """Whether ONNX Runtime computes an operator on 8-bit inputs, and rightly: its integer average of windows that reach
    beyond a padded edge is another than that of floats.
    """
    name = operator_name(node)
    beyond = name == "avg_pool2d" and arguments(node)["ceil_mode"] and any(pair(arguments(node)["padding"]))
    return name in INTEGER and not is_size(node) and not beyond


def _read_as_integers(graph: fx.GraphModule, node: fx.Node) -> bool:
    return any(
        isinstance(module_of(graph, reader), LAYERS)
        or _has_integer_kernel(reader)
        or (_passes(graph, reader) and _read_as_integers(graph, reader))
        for reader in node.users
    )
