"""Transposes that cancel: files with channels last carry one before and one behind most operators.

A transpose moves behind the operators that treat all places alike, until it meets one that undoes it.
"""

import numpy as np

from compression.network.onnx_reader.operators.pointwise import POINTWISE
from compression.network.onnx_reader.program import Node, Program
from compression.network.onnx_reader.rewriting import constant_, without_unread_

ALIKE = (set(POINTWISE) - {"PRelu"}) | {"QuantizeLinear"}
"""Operators that do the same at each place."""

REDUCE = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"}


def settle_layout_(program: Program) -> None:
    """Moves transposes behind what they may pass, and drops those that cancel."""
    if not any(node.op == "Transpose" for node in program.nodes):
        return
    nodes: list[Node] = []
    makers: dict[str, Node] = {}
    for node in program.nodes:
        for each in _passed(program, node, makers):
            nodes.append(each)
            makers |= dict.fromkeys(each.outputs, each)
    program.nodes[:] = nodes
    without_unread_(program)


def _passed(program: Program, node: Node, makers: dict[str, Node]) -> list[Node]:
    """What stands in place of `node`, with transposes behind it instead of before it where that is possible."""
    before = {name: makers[name] for name in node.inputs if name in makers and makers[name].op == "Transpose"}
    orders = {tuple(each.get("perm") or ()) for each in before.values()}
    if len(orders) != 1 or not (order := next(iter(orders))):
        return [node]
    if node.op == "Transpose" and node.get("perm"):
        if len(node.get("perm")) != len(order):
            return [node]
        node.attributes["perm"] = [order[axis] for axis in node.get("perm")]
        node.inputs = [before[node.inputs[0]].inputs[0]]
        if node.get("perm") == list(range(len(order))):
            return [Node("Identity", node.inputs, node.outputs, {}, node.name)]
        return [node]
    if node.domain or len(node.outputs) != 1:
        return [node]
    if node.op in REDUCE:
        return _reduced(program, node, before, order)
    if node.op == "Pad":
        return _padded(program, node, before, order)
    if node.op in ALIKE:
        return _alike(program, node, before, order)
    return [node]


def _alike(program: Program, node: Node, before: dict[str, Node], order: tuple[int, ...]) -> list[Node]:
    inputs = []
    for at, name in enumerate(node.inputs):
        value = program.constants.get(name)
        if name in before:
            inputs.append(before[name].inputs[0])
        elif not name or (value is not None and (value.size == 1 and value.ndim <= len(order))):
            inputs.append(name)
        elif value is not None and value.ndim <= len(order) and node.op != "Clip" and at < 3:
            whole = value.reshape([1] * (len(order) - value.ndim) + list(value.shape))
            turned = f"{name}.turned{''.join(map(str, order))}"
            if turned not in program.constants:
                constant_(program, turned, np.ascontiguousarray(whole.transpose(np.argsort(order))))
            inputs.append(turned)
        else:
            return [node]
    return _turned(node, inputs, order)


def _turned(node: Node, inputs: list[str], order: tuple[int, ...]) -> list[Node]:
    """`node` on what was read before the transposes, and a transpose of its answer."""
    answer, name = node.outputs[0], f"{node.outputs[0]}.turned"
    node.inputs, node.outputs = inputs, [name]
    return [node, Node("Transpose", [name], [answer], {"perm": list(order), "opset": 13}, f"{node.name}.turned")]


def _reduced(program: Program, node: Node, before: dict[str, Node], order: tuple[int, ...]) -> list[Node]:
    given = program.constants.get(node.input(1))
    axes = node.get("axes") if given is None else [int(axis) for axis in given.reshape(-1)]
    if node.inputs[0] not in before or not axes or (node.input(1) and given is None):
        return [node]
    moved = [order[axis] for axis in axes]
    source = before[node.inputs[0]].inputs[0]
    if not node.get("keepdims", 1):
        left = [axis for axis in order if axis not in moved]
        if left != sorted(left):
            return [node]
    node.attributes["axes"] = moved
    if node.get("keepdims", 1):
        return _turned(node, [source], order)
    node.inputs = [source]
    return [node]


def _padded(program: Program, node: Node, before: dict[str, Node], order: tuple[int, ...]) -> list[Node]:
    """Padding of other axes: `pads` lists what comes in front of each axis, then what comes behind."""
    given, rank = program.constants.get(node.input(1)), len(order)
    pads = node.get("pads") if given is None else [int(n) for n in given.reshape(-1)]
    if node.inputs[0] not in before or not pads or len(pads) != 2 * rank or node.input(3):
        return [node]
    moved = [0] * (2 * rank)
    for axis, to in enumerate(order):
        moved[to], moved[rank + to] = pads[axis], pads[rank + axis]
    rest = node.inputs[1:]
    if given is None:
        node.attributes["pads"] = moved
    else:
        rest[0] = constant_(program, f"{node.inputs[1]}.turned", np.asarray(moved, np.int64))
    return _turned(node, [before[node.inputs[0]].inputs[0], *rest], order)
