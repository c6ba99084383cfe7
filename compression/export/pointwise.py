"""ATen operators that treat each number by itself, written as ONNX nodes."""

from math import pi, sqrt
from typing import Any

import torch
from onnx import TensorProto
from torch import fx

from compression.errors import Unsupported
from compression.export.context import Context, Translation
from compression.graph import operator_name


def _plain(operator: str) -> Translation:
    """An operator of one or two values that ONNX has too."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        if a.get("alpha", 1) != 1 or a.get("rounding_mode"):
            asked = {key: a[key] for key in ("alpha", "rounding_mode") if a.get(key)}
            raise Unsupported(f"{operator} with {asked} has no ONNX translation here yet.")
        other = a.get("other", a.get("mat2", a.get("exponent")))
        return c.writer.node(operator, [c.value(a["self"]), *([c.value(other)] if other is not None else [])])

    return write


def _rsub(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    scaled = c.value(a["self"]) if a["alpha"] == 1 else c.writer.node("Mul", [c.value(a["self"]), c.value(a["alpha"])])
    return c.writer.node("Sub", [c.value(a["other"]), scaled])


def _square(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Mul", [c.value(a["self"])] * 2)


def _rsqrt(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Reciprocal", [c.writer.node("Sqrt", [c.value(a["self"])])])


def _clamp(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    bounds = [c.value(bound) if bound is not None else "" for bound in (a.get("min"), a.get("max"))]
    return c.writer.node("Clip", [c.value(a["self"]), *bounds] if bounds[1] else [c.value(a["self"]), bounds[0]])


def _hardtanh(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Clip", [c.value(a["self"]), c.value(a["min_val"]), c.value(a["max_val"])])


def _hardsigmoid(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("HardSigmoid", [c.value(a["self"])], alpha=1 / 6, beta=0.5)


def _leaky_relu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("LeakyRelu", [c.value(a["self"])], alpha=float(a["negative_slope"]))


def _silu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x = c.value(a["self"])
    return c.writer.node("Mul", [x, c.writer.node("Sigmoid", [x])])


def _gelu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Hendrycks & Gimpel 2016, exact or by tanh."""
    w, x = c.writer, c.value(a["self"])
    if a["approximate"] == "none":
        inner = w.node("Erf", [w.node("Mul", [x, c.value(0.5**0.5)])])
    else:
        cube = w.node("Mul", [w.node("Mul", [w.node("Mul", [x, x]), x]), c.value(0.044715)])
        inner = w.node("Tanh", [w.node("Mul", [w.node("Add", [x, cube]), c.value(sqrt(2 / pi))])])
    return w.node("Mul", [w.node("Mul", [x, c.value(0.5)]), w.node("Add", [inner, c.value(1.0)])])


def _elu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a["scale"] != 1 or a["input_scale"] != 1:
        raise Unsupported("ELU with scales of its own has no ONNX translation here yet.")
    return c.writer.node("Elu", [c.value(a["self"])], alpha=float(a["alpha"]))


def _celu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Celu", [c.value(a["self"])], alpha=float(a["alpha"]))


def _softplus(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """log(1 + exp(beta·x)) / beta; x itself where beta·x lies above a threshold, by default where both are equal."""
    w, x, beta = c.writer, c.value(a["self"]), a["beta"]
    scaled = x if beta == 1 else w.node("Mul", [x, c.value(beta)])
    soft = w.node("Softplus", [scaled])
    soft = soft if beta == 1 else w.node("Div", [soft, c.value(beta)])
    if a["threshold"] >= 20:
        return soft
    return w.node("Where", [w.node("Greater", [scaled, c.value(a["threshold"])]), x, soft])


def _log_sigmoid(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    turned = c.writer.node("Neg", [c.value(a["self"])])
    return c.writer.node("Neg", [c.writer.node("Softplus", [turned])])


def _glu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    half = c.shape(a["self"])[a["dim"]] // 2
    x, gate = c.writer.node("Split", [c.value(a["self"]), c.whole([half, half])], 2, axis=a["dim"])
    return c.writer.node("Mul", [x, c.writer.node("Sigmoid", [gate])])


def _addcmul(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    product = c.writer.node("Mul", [c.value(a["tensor1"]), c.value(a["tensor2"])])
    if a["value"] != 1:
        product = c.writer.node("Mul", [product, c.value(a["value"])])
    return c.writer.node("Add", [c.value(a["self"]), product])


def _where(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Where", [c.value(a[key]) for key in ("condition", "self", "other")])


def _threshold(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x = c.value(a["self"])
    return c.writer.node("Where", [c.writer.node("Greater", [x, c.value(a["threshold"])]), x, c.value(a["value"])])


def _hardshrink(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x = c.value(a["self"])
    far = c.writer.node("Greater", [c.writer.node("Abs", [x]), c.value(a["lambd"])])
    return c.writer.node("Where", [far, x, c.value(0.0)])


def _masked_fill(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Where", [c.value(a["mask"]), c.value(a["value"]), c.value(a["self"])])


def _log1p(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Log", [c.writer.node("Add", [c.value(a["self"]), c.value(1.0)])])


def _softshrink(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Shrink", [c.value(a["self"])], bias=float(a["lambd"]), lambd=float(a["lambd"]))


def _rrelu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("LeakyRelu", [c.value(a["self"])], alpha=(a["lower"] + a["upper"]) / 2)


def _full_like(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """One number for each of a value."""
    number = {"zeros_like": 0.0, "ones_like": 1.0}.get(operator_name(node), a.get("fill_value"))
    none = c.writer.node("Mul", [c.value(a["self"]), c.value(0.0)])
    return c.writer.node("Add", [none, c.value(number)]) if number else none


def _cast(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a["dtype"] not in TYPES:
        raise Unsupported(f"A cast to {a['dtype']} has no ONNX translation here yet.")
    return c.writer.node("Cast", [c.value(a["self"])], to=TYPES[a["dtype"]])


TYPES = {
    torch.float32: TensorProto.FLOAT, torch.bool: TensorProto.BOOL, torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
}  # fmt: skip

SAME = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "selu": "Selu", "mish": "Mish",
    "exp": "Exp", "log": "Log", "abs": "Abs", "neg": "Neg", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "add": "Add",
    "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "matmul": "MatMul", "bmm": "MatMul", "erf": "Erf",
    "sin": "Sin", "cos": "Cos", "atan": "Atan", "sign": "Sign", "round": "Round", "floor": "Floor", "ceil": "Ceil",
    "eq": "Equal", "logical_not": "Not", "bitwise_not": "Not", "maximum": "Max", "minimum": "Min", "gt": "Greater",
    "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "logical_and": "And", "logical_or": "Or",
    "logical_xor": "Xor", "bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor",
}  # fmt: skip
"""Operators that ONNX has too."""

POINTWISE: dict[str, Translation] = {name: _plain(operator) for name, operator in SAME.items()} | {
    "rsub": _rsub, "square": _square, "rsqrt": _rsqrt, "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp,
    "clamp_max": _clamp, "hardtanh": _hardtanh, "hardsigmoid": _hardsigmoid, "leaky_relu": _leaky_relu, "silu": _silu,
    "gelu": _gelu, "elu": _elu, "celu": _celu, "softplus": _softplus, "log_sigmoid": _log_sigmoid, "glu": _glu,
    "addcmul": _addcmul, "where": _where, "threshold": _threshold, "hardshrink": _hardshrink, "softshrink": _softshrink,
    "rrelu": _rrelu, "masked_fill": _masked_fill, "log1p": _log1p, "zeros_like": _full_like, "ones_like": _full_like,
    "full_like": _full_like, "to": _cast,
}  # fmt: skip
