"""Zero padding that a network writes as an operator of its own, folded into what reads it.

PyTorch's convolutions set as many zeros on one side of a map as on the other. A network that needs another number on
each side - "same" padding of even maps under a stride, as TensorFlow has it - pads first. Between quantizers such an
operator keeps the layer behind it in floats, and ONNX Runtime sets transposes around it; the zeros are therefore moved
into the convolution, or into a pool that answers the same with padding of its own.
"""

from typing import Any

import torch
from torch import fx, nn

from compression.network.graph import Pads, arguments, module_of, operator_name, padded, padding_of, pair

aten = torch.ops.aten

PADDING = {"pad", "constant_pad_nd"}

KEEP_ZERO = {
    "relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "tanh", "abs", "neg", "square",
    "hardshrink", "softshrink",
}  # fmt: skip
"""Functions of one number that are zero at zero."""

JOIN = {"add", "sub", "mul", "maximum", "minimum", "cat"}
"""Operators on several values whose answer is zero where all of these are."""

NEVER_NEGATIVE = {"relu", "sigmoid", "hardsigmoid", "abs", "square", "exp", "softmax"}
PICK = {"max_pool2d", "cat"}
"""Operators whose answers are some of the numbers that they read."""


def fold_padding_(graph: fx.GraphModule) -> None:
    """Zeros set beside maps become the padding of the convolutions and pools that read them.

    They are moved behind operators that leave zeros zero first, so that an activation between does not matter. What
    would answer differently stays: crops, other values than zero, averages that count what is there, and a convolution
    that is called several times, on padded maps and on others.
    """
    positive: set[fx.Node] = set()
    for node in graph.graph.nodes:  # what is set behind a node is visited next
        if operator_name(node) in PADDING and not any(arguments(node)["pad"]):
            node.replace_all_uses_with(node.all_input_nodes[0])
        elif (pads := _shared_pads(node)) is not None:
            _fold_(graph, node, pads, positive)
        if _is_never_negative(graph, node, positive):
            positive.add(node)
    _fold_into_convolutions_(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def is_spatial(node: fx.Node) -> bool:
    """Whether `node` pads or crops maps in height and width only, each channel by itself."""
    return operator_name(node) in PADDING and _rank(node) == 4 and not any(arguments(node)["pad"][4:])


def zero_padding(node: fx.Node) -> Pads | None:
    """How many zeros `node` sets beside maps, if that is all it does."""
    if not is_spatial(node):
        return None
    a = arguments(node)
    sides = [*a["pad"], 0, 0][:4]
    zeros = a.get("mode", "constant") == "constant" and not a["value"]
    if not zeros or not all(isinstance(side, int) and side >= 0 for side in sides):
        return None
    return sides[0], sides[1], sides[2], sides[3]


def _shared_pads(node: fx.Node) -> Pads | None:
    """The zeros that stand beside everything that `node` reads, the same everywhere."""
    found = {zero_padding(read) for read in node.all_input_nodes}
    return found.pop() if len(found) == 1 else None


def _fold_(graph: fx.GraphModule, node: fx.Node, pads: Pads, positive: set[fx.Node]) -> None:
    """`node` reads maps without their `pads`, where it can do without or has them by itself then."""
    name, own = operator_name(node), zero_padding(node)
    if own is not None:
        sides = [a + b for a, b in zip(pads, own, strict=True)]
        node.target, node.args, node.kwargs = aten.pad.default, (_bare(_bare(node)), sides), {}
    elif _keeps_zero(graph, node):
        _pad_behind_(graph, node, pads)
    elif name == "avg_pool2d":
        _fold_into_average_(node, pads)
    elif name == "max_pool2d" and _bare(_bare(node)) in positive:
        _fold_into_maximum_(node, pads)


def _bare(padding: fx.Node) -> fx.Node:
    """What a padding operator reads."""
    return padding.all_input_nodes[0]


def _rank(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else 0


def _keeps_zero(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether zeros at the same places of all that `node` reads are zeros of its answer, at the same places."""
    name = operator_name(node)
    if name in ("hardtanh", "clamp"):
        ends = list(arguments(node).values())[1:3]
        return all(end is None or isinstance(end, int | float) for end in ends) and _between(*ends)
    if name in JOIN:
        a = arguments(node)
        if name == "cat":
            return a["dim"] in (1, -3)
        return isinstance(a["self"], fx.Node) and isinstance(a["other"], fx.Node)
    return name in KEEP_ZERO or isinstance(module_of(graph, node), nn.Dropout | nn.PReLU)


def _between(low: float | None, high: float | None) -> bool:
    return (low is None or low <= 0) and (high is None or high >= 0)


def _is_never_negative(graph: fx.GraphModule, node: fx.Node, positive: set[fx.Node]) -> bool:
    name = operator_name(node)
    if name in ("hardtanh", "clamp"):
        low = list(arguments(node).values())[1]
        return isinstance(low, int | float) and low >= 0
    passes = name in PICK or zero_padding(node) is not None or isinstance(module_of(graph, node), nn.Dropout)
    return name in NEVER_NEGATIVE or (passes and positive.issuperset(node.all_input_nodes))


def _pad_behind_(graph: fx.GraphModule, node: fx.Node, pads: Pads) -> None:
    """Padding of what `node` reads becomes padding of its answer."""
    padding = node.all_input_nodes[0]
    for read in node.all_input_nodes:
        node.replace_input_with(read, _bare(read))
    with graph.graph.inserting_after(node):
        behind = graph.graph.call_function(aten.pad.default, (node, list(pads)))
    behind.meta["val"] = padding.meta["val"]  # as high and wide, though not always of as many channels
    node.meta.pop("val", None)
    node.replace_all_uses_with(behind, delete_user_cb=lambda reader: reader is not behind)


def _fold_into_average_(node: fx.Node, pads: Pads) -> None:
    """An average that counts zeros beside the map, as many on both sides."""
    a, (left, right, above, below) = arguments(node), pads
    kernel, own = pair(a["kernel_size"]), pair(a["padding"])
    down, across = own[0] + above, own[1] + left
    uneven = left != right or above != below or a["ceil_mode"]
    if uneven or (any(own) and not a["count_include_pad"]) or down > kernel[0] // 2 or across > kernel[1] // 2:
        return
    _set_(node, a | {"self": _bare(a["self"]), "padding": [down, across], "count_include_pad": True})


def _fold_into_maximum_(node: fx.Node, pads: Pads) -> None:
    """A maximum of numbers that are never negative: it needs no zeros beside the map, only windows at the same places.

    Where these begin is what is set above and to the left; how many there are, padding of both sides or `ceil_mode`
    has to make out.
    """
    a, padding, found = arguments(node), node.all_input_nodes[0], node.meta.get("val")
    kernel, own = pair(a["kernel_size"]), pair(a["padding"])
    stride = pair(a["stride"]) if a["stride"] else kernel
    before = own[0] + pads[2], own[1] + pads[0]
    if found is None or pair(a["dilation"]) != (1, 1) or any(b > k // 2 for b, k in zip(before, kernel, strict=True)):
        return
    height, width = padding.meta["val"].shape[2:]
    lengths = height - pads[2] - pads[3], width - pads[0] - pads[1]
    for ceil in (False, True):
        counts = [_windows(*axis, ceil) for axis in zip(lengths, before, kernel, stride, strict=True)]
        if counts == list(found.shape[2:]):
            return _set_(node, a | {"self": _bare(padding), "padding": list(before), "ceil_mode": ceil})


def _windows(length: int, before: int, kernel: int, stride: int, ceil: bool) -> int:
    """How many windows PyTorch lays over `length` numbers with `before` more on both sides; none begins behind them."""
    rest = length + 2 * before - kernel
    count = (-(-rest // stride) if ceil else rest // stride) + 1
    return count - (ceil and (count - 1) * stride >= length + before)


def _set_(node: fx.Node, values: dict[str, Any]) -> None:
    """The same call with other arguments, given by name."""
    node.args, node.kwargs = tuple(values.values()), {}


def _fold_into_convolutions_(graph: fx.GraphModule) -> None:
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if isinstance(module_of(graph, node), nn.Conv2d):
            calls.setdefault(str(node.target), []).append(node)
    for path, nodes in calls.items():
        found = {_shared_pads(node) for node in nodes}
        pads = found.pop()
        if found or pads is None:
            continue
        layer = graph.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        left, right, above, below = (a + b for a, b in zip(padding_of(layer), pads, strict=True))
        _replace_(graph, path, padded(layer, (left, right, above, below)))
        for node in nodes:
            node.replace_input_with(node.all_input_nodes[0], _bare(node.all_input_nodes[0]))


def _replace_(graph: fx.GraphModule, path: str, layer: nn.Module) -> None:
    """Puts `layer` at `path`, with the modules that stand below it there."""
    for name, child in graph.get_submodule(path).named_children():
        layer.add_module(name, child)
    parent, _, leaf = path.rpartition(".")
    graph.get_submodule(parent)._modules[leaf] = layer
