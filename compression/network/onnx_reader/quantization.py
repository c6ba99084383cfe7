"""Files of integers, read back as the network of floats that they stand for.

Stored integers become the numbers that they mean. What quantizes values on their way drops out, but for a ReLU that it
does by its range: ONNX Runtime's tools leave out the activations that a range of 0 to something carries out anyway.
"""

from collections.abc import Callable

import numpy as np

from compression.errors import InvalidModel
from compression.network.onnx_reader.program import Node, Program
from compression.network.onnx_reader.rewriting import constant_

POSITIVE = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Softplus"}
PASSING = {"Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Reshape", "Flatten",
           "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Concat", "Split", "Dropout", "Resize"}  # fmt: skip
SIX = 0.02
"""How far the end of a range may be from 6 where a ReLU6 is left out."""

Makers = dict[str, Node]


def as_floats_(program: Program) -> bool:
    """Rewrites `program` to floats. Returns whether it was quantized."""
    found = False
    for nodes in program.bodies():
        makers: Makers = {}
        new: list[Node] = []
        for node in nodes:
            rule = RULES.get((node.domain, node.op))
            made = [node] if rule is None else rule(program, node, makers)
            found = found or rule is not None
            new += made
            makers |= {name: each for each in made for name in each.outputs}
        nodes[:] = new
    return found


def _constant(program: Program, node: Node, at: int, what: str) -> np.ndarray | None:
    """A stored input; None where it is left out. Raises `InvalidModel` where it is computed."""
    name = node.input(at)
    if name and name not in program.constants:
        raise InvalidModel(f"The {what} of {node.said} is computed from the image; stored ones are possible.")
    return program.constants[name] if name else None


def _range(program: Program, node: Node, scale: int, zero: int) -> tuple[float, float]:
    """The least and the largest number that a quantized value stands for."""
    step, offset = _constant(program, node, scale, "scale"), _constant(program, node, zero, "zero point")
    kind = np.iinfo(offset.dtype) if offset is not None and offset.dtype.kind in "iu" else np.iinfo(np.uint8)
    at = 0.0 if offset is None or not offset.size else float(np.max(offset))
    size = float(np.max(step)) if step is not None and step.size else 1.0
    return (kind.min - at) * size, (kind.max - at) * size


def _after(program: Program, node: Node, value: str, scale: int, zero: int, makers: Makers) -> Node:
    """What quantizing does to `value` beyond rounding: nothing, or a ReLU, or a ReLU6."""
    least, most = _range(program, node, scale, zero)
    if least < 0 or value == program.image or _is_positive(program, value, makers):
        return Node("Identity", [value], node.outputs[:1], {}, node.name)
    if abs(most - 6) > SIX:
        return Node("Relu", [value], node.outputs[:1], {}, node.name)
    bounds = [constant_(program, f"{value}.{name}", np.float32(n)) for name, n in (("min", 0), ("max", 6))]
    return Node("Clip", [value, *bounds], node.outputs[:1], {}, node.name)


def _is_positive(program: Program, value: str, makers: Makers) -> bool:
    """Whether no number of a value is below zero, by the operators that make it."""
    waiting, seen = [value], set[str]()
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if name in seen:
            continue
        seen.add(name)
        if node is None or (node.op == "Clip" and not _is_above(program, node)):
            return False
        if node.op in PASSING:
            waiting += [each for each in node.inputs[: None if node.op == "Concat" else 1] if each]
        elif node.op not in POSITIVE and node.op != "Clip":
            return False
    return True


def _is_above(program: Program, node: Node) -> bool:
    low = program.constants.get(node.input(1))
    return bool(low.min() >= 0) if low is not None and low.size else node.get("min", -1.0) >= 0


def _quantize(program: Program, node: Node, makers: Makers) -> list[Node]:
    return [_after(program, node, node.inputs[0], 1, 2, makers)]


def _dequantize(program: Program, node: Node, makers: Makers) -> list[Node]:
    return [Node("Identity", node.inputs[:1], node.outputs, {}, node.name)]


def _meant(program: Program, node: Node, value: int, scale: int, zero: int, *, axis: int = 0) -> str:
    """The name of an input as floats: what stored integers mean, or a value on its way."""
    name = node.input(value)
    stored = program.constants.get(name)
    if stored is None:
        return name
    step, offset = _constant(program, node, scale, "scale"), _constant(program, node, zero, "zero point")
    return constant_(program, f"{name}.meant", _values(stored, step, offset, axis))


def _values(stored: np.ndarray, step: np.ndarray | None, offset: np.ndarray | None, axis: int) -> np.ndarray:
    """(q − z)·s along `axis`."""

    def spread(array: np.ndarray | None, default: float) -> np.ndarray:
        if array is None or array.size == 1:
            return np.float32(default if array is None else array.reshape(-1)[0])  # type: ignore[return-value]
        return array.astype(np.float32).reshape([-1 if i == axis % stored.ndim else 1 for i in range(stored.ndim)])

    return ((stored.astype(np.float32) - spread(offset, 0)) * spread(step, 1)).astype(np.float32)


def _conv(program: Program, node: Node, makers: Makers) -> list[Node]:
    weight = _meant(program, node, 3, 4, 5)
    inputs = [_meant(program, node, 0, 1, 2), weight]
    bias = _constant(program, node, 8, "bias")
    if bias is not None:
        steps = _number(program, node, 1) * np.asarray(_constant(program, node, 4, "scale")).reshape(-1)
        inputs.append(constant_(program, f"{node.inputs[8]}.meant", (bias * steps).astype(np.float32)))
    return _then(program, node, "Conv", inputs, 6, 7, makers)


def _number(program: Program, node: Node, at: int) -> float:
    value = _constant(program, node, at, "scale")
    return float(value.reshape(-1)[0]) if value is not None and value.size else 1.0


def _then(
    program: Program, node: Node, op: str, inputs: list[str], scale: int, zero: int, makers: Makers
) -> list[Node]:
    """An operator on floats, and what quantizing its answer does beyond rounding."""
    between = f"{node.outputs[0]}.float"
    made = Node(op, inputs, [between], dict(node.attributes), node.name)
    return [made, _after(program, node, between, scale, zero, {**makers, between: made})]


def _matmul(program: Program, node: Node, makers: Makers) -> list[Node]:
    inputs = [_meant(program, node, 0, 1, 2), _meant(program, node, 3, 4, 5, axis=-1)]
    return _then(program, node, "MatMul", inputs, 6, 7, makers)


def _gemm(program: Program, node: Node, makers: Makers) -> list[Node]:
    inputs = [_meant(program, node, 0, 1, 2), _meant(program, node, 3, 4, 5, axis=0 if node.get("transB", 0) else 1)]
    bias = _constant(program, node, 6, "bias")
    if bias is not None:
        steps = _number(program, node, 1) * np.asarray(_constant(program, node, 4, "scale")).reshape(-1)
        meant = (bias * steps * np.float32(node.get("alpha", 1.0))).astype(np.float32)
        inputs.append(constant_(program, f"{node.inputs[6]}.meant", meant))
    if not node.input(7):
        return [Node("Gemm", inputs, node.outputs, dict(node.attributes), node.name)]
    return _then(program, node, "Gemm", inputs, 7, 8, makers)


def _binary(op: str) -> "Rule":
    def rule(program: Program, node: Node, makers: Makers) -> list[Node]:
        inputs = [_meant(program, node, 0, 1, 2), _meant(program, node, 3, 4, 5)]
        return _then(program, node, op, inputs, 6, 7, makers)

    return rule


def _unary(op: str) -> "Rule":
    def rule(program: Program, node: Node, makers: Makers) -> list[Node]:
        if node.get("channels_last", 0):
            raise InvalidModel(f"{node.said} has its channels last, as ONNX Runtime writes it for one kind of machine.")
        attributes = node.attributes | ({"opset": 13} if op == "Softmax" else {})
        return [Node(op, node.inputs[:1], node.outputs, attributes, node.name)]

    return rule


def _concat(program: Program, node: Node, makers: Makers) -> list[Node]:
    inputs = [_meant(program, node, at, at + 1, at + 2) for at in range(2, len(node.inputs) - 2, 3)]
    return _then(program, node, "Concat", inputs, 0, 1, makers)


def _dynamic(program: Program, node: Node, makers: Makers) -> list[Node]:
    """Values quantized by their own range: as they are, on a scale of 1 from 0 on."""
    for name, value in zip(node.outputs[1:], (np.float32(1), np.uint8(0)), strict=False):
        program.constants[name] = np.asarray(value)
    return [Node("Identity", node.inputs[:1], node.outputs[:1], {}, node.name)]


def _of_integers(op: str, axis: int) -> "Rule":
    def rule(program: Program, node: Node, makers: Makers) -> list[Node]:
        inputs = []
        for at, zero in ((0, 2), (1, 3)):
            stored, offset = program.constants.get(node.input(at)), _constant(program, node, zero, "zero point")
            if stored is None:
                inputs.append(node.input(at))
            else:
                meant = _values(stored, None, offset, axis)
                inputs.append(constant_(program, f"{node.inputs[at]}.meant", meant))
        return [Node(op, inputs, node.outputs, dict(node.attributes), node.name)]

    return rule


Rule = Callable[[Program, Node, Makers], list[Node]]

ORT = "com.microsoft"
RULES: dict[tuple[str, str], Rule] = {
    ("", "QuantizeLinear"): _quantize, ("", "DequantizeLinear"): _dequantize, ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul, ("", "DynamicQuantizeLinear"): _dynamic,
    ("", "MatMulInteger"): _of_integers("MatMul", -1), ("", "ConvInteger"): _of_integers("Conv", 0),
    (ORT, "QuantizeLinear"): _quantize, (ORT, "DequantizeLinear"): _dequantize, (ORT, "QGemm"): _gemm,
    (ORT, "QLinearAdd"): _binary("Add"), (ORT, "QLinearMul"): _binary("Mul"), (ORT, "QLinearConcat"): _concat,
    (ORT, "QLinearSigmoid"): _unary("Sigmoid"), (ORT, "QLinearLeakyRelu"): _unary("LeakyRelu"),
    (ORT, "QLinearSoftmax"): _unary("Softmax"), (ORT, "QLinearAveragePool"): _unary("AveragePool"),
    (ORT, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
}  # fmt: skip
"""What stands in a network of floats for each operator on integers."""
