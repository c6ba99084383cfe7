"""Operators put together to what they were before an exporter took them apart: linear layers, norms, activations."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from compression.network.onnx_reader.program import Node, Program

COMMUTATIVE = {"Add", "Mul"}
ROOT = 2**0.5


def rewrite_(program: Program) -> None:
    """Puts together what was taken apart in `program`, and drops what nothing reads."""
    _name_bounds_(program)
    _fuse_(program)
    _make_linear_(program)
    without_unread_(program)


def without_unread_(program: Program) -> None:
    """Drops nodes whose outputs nothing reads."""
    readers, answers = program.readers(), program.answers()
    left = {name: len(nodes) for name, nodes in readers.items()}
    for nodes in program.bodies():
        for node in list(reversed(nodes)):
            if not any(left.get(name) or name in answers for name in node.outputs if name):
                nodes.remove(node)
                for name in node.inputs:
                    left[name] = left.get(name, 1) - 1


def _name_bounds_(program: Program) -> None:
    """A Clip's bounds are inputs, as they are from opset 11 on; nothing that passes values on stays."""
    for node in (node for nodes in program.bodies() for node in nodes):
        if node.op == "Clip" and len(node.inputs) == 1:
            for bound in ("min", "max"):
                node.inputs.append("")
                if bound in node.attributes:
                    node.inputs[-1] = constant_(
                        program, f"{node.outputs[0]}.{bound}", np.float32(node.attributes[bound])
                    )
    same = {node.outputs[0]: node.inputs[0] for nodes in program.bodies() for node in nodes
            if node.op in ("Identity", "Dropout") and not node.domain and node.inputs and node.outputs}  # fmt: skip
    same = {name: read for name, read in same.items() if name not in program.answers()}
    for node in (node for nodes in program.bodies() for node in nodes):
        node.inputs = [_followed(same, name) for name in node.inputs]


def _followed(same: dict[str, str], name: str) -> str:
    for _ in range(len(same)):
        if name not in same:
            break
        name = same[name]
    return name


def constant_(program: Program, name: str, value: Any) -> str:
    """Adds a stored tensor under a name like `name`, which is returned."""
    while name in program.constants:
        name += "_"
    program.constants[name] = np.asarray(value)
    return name


# Linear layers


def _make_linear_(program: Program) -> None:
    """A product with a stored matrix becomes a Linear, with what is added to it."""
    readers, answers = program.readers(), program.answers()
    for nodes in program.bodies():
        for node in list(nodes):
            if node.op == "MatMul" and not node.domain:
                _of_matmul_(program, nodes, node, readers, answers)
            elif node.op == "Gemm" and not node.domain:
                _of_gemm_(program, node)


def _transposed(program: Program, name: str) -> str:
    """The name of the transpose of a stored matrix."""
    turned = f"{name}.transposed"
    if turned not in program.constants:
        program.constants[turned] = np.ascontiguousarray(program.constants[name].T)
    return turned


def _is_matrix(program: Program, name: str) -> bool:
    value = program.constants.get(name)
    return value is not None and value.ndim == 2 and value.dtype.kind == "f" and value.size > 0


def _of_matmul_(
    program: Program, nodes: list[Node], node: Node, readers: dict[str, list[Node]], answers: set[str]
) -> None:
    if not _is_matrix(program, node.input(1)) or node.input(0) in program.constants:
        return
    features = program.constants[node.inputs[1]].shape[1]
    node.op, node.inputs = "Linear", [node.inputs[0], _transposed(program, node.inputs[1])]
    product, reading = node.outputs[0], readers.get(node.outputs[0], [])
    if len(reading) != 1 or reading[0].op != "Add" or product in answers or reading[0] not in nodes:
        return
    add = reading[0]
    bias = add.inputs[0] if add.inputs[1] == product else add.inputs[1]
    value = program.constants.get(bias)
    if value is not None and value.dtype.kind == "f" and value.shape[-1:] == (features,) and value.size == features:
        if value.ndim > 1:
            if value.ndim > 2:
                return
            bias = constant_(program, f"{bias}.bias", value.reshape(-1))
        node.inputs.append(bias)
        node.outputs = add.outputs
        nodes.remove(add)


def _of_gemm_(program: Program, node: Node) -> None:
    weight, bias = node.input(1), node.input(2)
    if not _is_matrix(program, weight) or node.get("transA", 0) or node.input(0) in program.constants:
        return
    turned = weight if node.get("transB", 0) else _transposed(program, weight)
    features = program.constants[turned].shape[0]
    given = program.constants.get(bias)
    if bias and (given is None or given.size not in (1, features) or given.shape[-1:] == (1,) != (features,)):
        return
    scale, share = node.get("alpha", 1.0), node.get("beta", 1.0)
    if scale != 1:
        turned = constant_(program, f"{turned}.scaled", program.constants[turned] * np.float32(scale))
    inputs = [node.inputs[0], turned]
    if given is not None and bias:
        whole = np.broadcast_to(given.reshape(-1) * np.float32(share), features).astype(np.float32)
        plain = given.shape == (features,) and share == 1
        inputs.append(bias if plain else constant_(program, f"{bias}.bias", whole))
    node.op, node.inputs = "Linear", inputs


# Norms and activations

MEAN = ("MeanOfLast", "x")
AWAY = ("Sub", "x", MEAN)
DEVIATION = ("Sqrt", ("Add", ("MeanOfLast", ("Pow", AWAY, 2.0)), "eps"))
DEVIATION_2 = ("Sqrt", ("Add", ("MeanOfLast", ("Mul", AWAY, AWAY)), "eps"))
NORMED = (("Div", AWAY, DEVIATION), ("Div", AWAY, DEVIATION_2))
ERF = (("Add", ("Erf", ("Div", "x", ROOT)), 1.0), ("Add", ("Erf", ("Mul", "x", ROOT / 2)), 1.0))
CUBES = (("Pow", "x", 3.0), ("Mul", ("Mul", "x", "x"), "x"))
TANH = tuple(("Add", ("Tanh", ("Mul", ("Add", "x", ("Mul", cube, 0.044715)), 0.7978845608)), 1.0) for cube in CUBES)
HARD = ("Clip", ("Add", "x", 3.0), 0.0, 6.0)


def _halved(part: Any) -> tuple[Any, ...]:
    """x·part/2 in the orders in which exporters write it."""
    return (("Mul", ("Mul", "x", part), 0.5), ("Mul", ("Mul", "x", 0.5), part), ("Mul", "x", ("Mul", part, 0.5)))


Made = Callable[[Program, dict[str, str]], Node | None]


def _plain(op: str, **attributes: Any) -> Made:
    return lambda program, found: Node(op, [found["x"]], [], attributes)


def _layer_norm(program: Program, found: dict[str, str]) -> Node | None:
    weight, bias, eps = (program.constants.get(found.get(key, "")) for key in ("weight", "bias", "eps"))
    one = weight is not None and weight.ndim == 1 and bias is not None and bias.shape == weight.shape
    if not one or eps is None or eps.size != 1:
        return None
    return Node(
        "LayerNormalization", [found["x"], found["weight"], found["bias"]], [], {"epsilon": float(eps.reshape(-1)[0])}
    )


PATTERNS: tuple[tuple[Any, Made], ...] = (
    *((("Add", ("Mul", normed, "weight"), "bias"), _layer_norm) for normed in NORMED),
    *((pattern, _plain("Gelu")) for part in ERF for pattern in _halved(part)),
    *((pattern, _plain("Gelu", approximate="tanh")) for part in TANH for pattern in _halved(part)),
    (("Div", ("Mul", "x", HARD), 6.0), _plain("HardSwish")),
    (("Mul", ("Mul", "x", HARD), 1 / 6), _plain("HardSwish")),
    (("Mul", "x", ("Div", HARD, 6.0)), _plain("HardSwish")),
    (("Mul", "x", ("Mul", HARD, 1 / 6)), _plain("HardSwish")),
    (("Mul", "x", ("UsualHardSigmoid", "x")), _plain("HardSwish")),
    (("Div", HARD, 6.0), _plain("HardSigmoid", alpha=1 / 6)),
    (("Mul", HARD, 1 / 6), _plain("HardSigmoid", alpha=1 / 6)),
    (("Mul", "x", ("Sigmoid", "x")), _plain("Swish")),
    (("Mul", "x", ("Tanh", ("Softplus", "x"))), _plain("Mish")),
)
"""What operators are taken apart to; texts stand for values, numbers for stored ones."""


def _fuse_(program: Program) -> None:
    makers = {name: node for nodes in program.bodies() for node in nodes for name in node.outputs if name}
    by_op: dict[str, list[tuple[Any, Made]]] = {}
    for pattern, made in PATTERNS:
        by_op.setdefault(pattern[0], []).append((pattern, made))
    for nodes in program.bodies():
        for place, node in enumerate(nodes):
            for pattern, made in by_op.get(node.op, ()) if not node.domain else ():
                found = _matched(program, makers, pattern, node.outputs[0], {})
                new = made(program, found) if found is not None else None
                if new is not None:
                    nodes[place] = replace(new, outputs=node.outputs, name=node.name)
                    nodes[place].attributes["opset"] = node.get("opset")
                    makers[node.outputs[0]] = nodes[place]
                    break


def _of_last_axis(program: Program, node: Node) -> bool:
    return _axes(program, node) == [-1] and bool(node.get("keepdims", 1))


def _is_usual(program: Program, node: Node) -> bool:
    return abs(node.get("alpha", 0.2) - 1 / 6) < 1e-4 and node.get("beta", 0.5) == 0.5


def _axes(program: Program, node: Node) -> list[int] | None:
    given = program.constants.get(node.input(1))
    axes = node.get("axes") if given is None else [int(axis) for axis in given.reshape(-1)]
    return list(axes) if axes is not None else None


NARROW: dict[str, tuple[str, Callable[[Program, Node], bool]]] = {
    "MeanOfLast": ("ReduceMean", _of_last_axis), "UsualHardSigmoid": ("HardSigmoid", _is_usual),
}  # fmt: skip
"""Names in patterns for an operator with certain settings."""


def _matched(
    program: Program, makers: dict[str, Node], pattern: Any, name: str, found: dict[str, str]
) -> dict[str, str] | None:
    """What the texts in `pattern` stand for if it describes the value `name`, those in `found` as they are; or None."""
    if isinstance(pattern, str):
        return found | {pattern: name} if found.get(pattern, name) == name else None
    if isinstance(pattern, float):
        value = program.constants.get(name)
        same = (
            value is not None and value.size == 1 and abs(float(value.reshape(-1)[0]) - pattern) <= 1e-4 * abs(pattern)
        )
        return found if same else None
    op, *parts = pattern
    op, fits = NARROW.get(op, (op, None))
    node = makers.get(name)
    if (
        node is None
        or node.op != op
        or node.domain
        or len(node.inputs) < len(parts)
        or (fits and not fits(program, node))
    ):
        return None
    orders: Iterable[tuple[str, ...]] = [tuple(node.inputs[: len(parts)])]
    for order in permutations(node.inputs) if op in COMMUTATIVE and len(parts) == 2 else orders:
        tried: dict[str, str] | None = found
        for part, read in zip(parts, order, strict=True):
            tried = _matched(program, makers, part, read, tried) if tried is not None else None
        if tried is not None:
            return tried
    return None
