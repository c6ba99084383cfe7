"""Which values of the graph are kept in 8 bits: the rule, once.

Calibration observes the values that this rule names, the torch simulation rounds them, and the exporter writes a
QuantizeLinear/DequantizeLinear pair at each: the three cannot disagree.
"""

from torch import fx, nn

from compression.network.graph import LAYERS, folded_norm, module_of, only_reader, operator_name
from compression.network.placement import PLACEMENT, gives_floats_as_readily, has_integer_kernel, is_value

PASS = {
    "max_pool2d", "flatten", "reshape", "transpose", "permute", "chunk", "split", "split_with_sizes", "getitem",
    "squeeze", "unsqueeze", "slice", "select", "unflatten",
}  # fmt: skip
"""Operators that only move or pick values: what comes out keeps the scale of what went in."""

LISTS = {"chunk", "split", "split_with_sizes"}
"""Operators that return several values; each is a 'getitem' of its own."""

CLIPS = {"relu": (0.0, float("inf")), "hardtanh": (0.0, 6.0)}
"""Activations that a quantizer with zero-point 0 performs by itself."""


def quantized_values(graph: fx.GraphModule) -> dict[str, str]:
    """Node name → name of the value whose scale it carries (its own, or that of the value it was picked from).

    A value is quantized where an integer operator reads it, unless it lies inside a chain that runs as one kernel
    (layer, batch norm, clip; add, clip) or is the network's answer. Where the graph has a placement, the operators that
    it names are the integer ones, and what they give is quantized too.
    """
    found: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if passes(graph, node):
            if node.args[0] in found:
                found[node] = found[node.args[0]]
        elif is_value(node) and not inside_a_kernel(graph, node) and _has_codes(graph, node):
            found[node] = node.name
    return {node.name: owner for node, owner in found.items() if operator_name(node) not in LISTS}


def clip_of(node: fx.Node) -> tuple[float, float] | None:
    """The range an activation node cuts its input to, if that is all it does."""
    name = operator_name(node)
    if name == "hardtanh" and tuple(node.args[1:3]) not in ((0, 6), (0.0, 6.0)):
        return None
    return CLIPS.get(name)


def runs_in_integers(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node reads codes: by the graph's placement, or where it has none, whenever it can."""
    if PLACEMENT in graph.meta:
        return node.name in graph.meta[PLACEMENT]
    return isinstance(module_of(graph, node), LAYERS) or has_integer_kernel(node)


def kernel_of(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The first node of the chain that runs as one kernel and ends with `node`; mostly that is `node` itself."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node) and inside_a_kernel(graph, source):
        node, source = source, source.args[0]
    return node


def passes(graph: fx.GraphModule, node: fx.Node) -> bool:
    """True where `node` only moves or picks values."""
    maker = node.args[0] if operator_name(node) == "getitem" else node
    return operator_name(maker) in PASS or isinstance(module_of(graph, node), nn.Dropout)  # type: ignore[arg-type]


def inside_a_kernel(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the one reader of a node's value belongs to the kernel that computes it: a batch norm, or a clip."""
    reader = only_reader(node)
    if reader is None:
        return False
    starts = isinstance(module_of(graph, node), (*LAYERS, nn.BatchNorm2d)) or operator_name(node) == "add"
    return starts and (folded_norm(graph, node) is not None or clip_of(reader) is not None)


def _has_codes(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value is kept in 8 bits: as an integer operator reads it or, where operators are placed, gives it.

    The network's answers stay floats.
    """
    if _read_as_integers(graph, node):
        return True
    maker = kernel_of(graph, node)
    if PLACEMENT not in graph.meta or not runs_in_integers(graph, maker):
        return False
    return not gives_floats_as_readily(module_of(graph, maker)) and not _is_answer(graph, node)


def _is_answer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return any(r.op == "output" or (passes(graph, r) and _is_answer(graph, r)) for r in node.users)


def _read_as_integers(graph: fx.GraphModule, node: fx.Node) -> bool:
    return any(
        runs_in_integers(graph, reader) or (passes(graph, reader) and _read_as_integers(graph, reader))
        for reader in node.users
    )
