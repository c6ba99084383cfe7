"""ATen operators that treat each number by itself, written as ONNX nodes."""

from math import pi, sqrt
from typing import Any

import torch
from torch import fx

from compression.export.context import Context, Translation
from compression.network.graph import operator_name
from compression.network.parametrizations import QUANTIZER


def _plain(operator: str) -> Translation:
    """An operator of one or two values that ONNX has too, on numbers of the type that it gives."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        dtype, other = c.dtype(node), a.get("other", a.get("mat2", a.get("exponent")))
        values = [c.cast(value, dtype) for value in (a["self"], other) if value is not None]
        return c.writer.node(_of(dtype, operator), values)

    return write


def _of(dtype: torch.dtype, operator: str) -> str:
    return OF_TRUTH.get(operator, operator) if dtype == torch.bool else operator


def _sum(operator: str) -> Translation:
    """self ± alpha · other."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        return _plain(operator)(c, node, a) if a["alpha"] == 1 else _scaled_sum(c, node, operator, a["self"], a)

    return write


def _rsub(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    turned = {"other": a["self"], "alpha": a["alpha"]}
    return _scaled_sum(c, node, "Sub", a["other"], turned)


def _scaled_sum(c: Context, node: fx.Node, operator: str, first: Any, a: dict[str, Any]) -> str:
    dtype = c.dtype(node)
    second = c.cast(a["other"], dtype)
    second = second if a["alpha"] == 1 else c.writer.node(_of(dtype, "Mul"), [second, c.value(a["alpha"], dtype)])
    return c.writer.node(_of(dtype, operator), [c.cast(first, dtype), second])


def _compared(operator: str) -> Translation:
    """A comparison, in the type that PyTorch compares in; ONNX orders numbers only."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        dtype = c.common(a["self"], a["other"])
        dtype = torch.int32 if dtype == torch.bool and operator != "Equal" else dtype
        return c.writer.node(operator, [c.cast(a["self"], dtype), c.cast(a["other"], dtype)])

    return write


def _differs(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Not", [_compared("Equal")(c, node, a)])


def _logical(operator: str) -> Translation:
    """On truth values; a number is true where it is not 0."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        values = [a["self"]] if operator == "Not" else [a["self"], a["other"]]
        return c.writer.node(operator, [c.cast(value, torch.bool) for value in values])

    return write


def _bitwise(operator: str) -> Translation:
    """On truth values alone."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        if c.dtype(node) != torch.bool:
            raise c.refusal(node, "of whole numbers")
        return c.writer.node(operator, [c.value(a["self"], torch.bool), c.value(a["other"], torch.bool)])

    return write


def _bitwise_not(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """-1 - x in two's complement."""
    if c.dtype(node) == torch.bool:
        return c.writer.node("Not", [c.value(a["self"])])
    return c.writer.node("Sub", [c.value(-1, c.dtype(node)), c.value(a["self"])])


def _rounded(operator: str) -> Translation:
    """To whole numbers, or to `decimals` digits behind the point; whole numbers stay."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        w, x, decimals = c.writer, c.value(a["self"]), a.get("decimals", 0)
        if not decimals:
            return w.node(operator, [x]) if c.dtype(node) == torch.float32 else x
        first, last = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
        power = c.value(10.0 ** abs(decimals))
        return w.node(last, [w.node(operator, [w.node(first, [x, power])]), power])

    return write


def _trunc(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.value(a["self"]) if c.dtype(node) != torch.float32 else _toward_zero(c, c.value(a["self"]))


def _toward_zero(c: Context, x: str) -> str:
    return c.writer.node("Mul", [c.writer.node("Sign", [x]), c.writer.node("Floor", [c.writer.node("Abs", [x])])])


def _div(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Whole numbers by whole numbers give floats, unless they are rounded."""
    mode = "floor" if operator_name(node) == "floor_divide" else a.get("rounding_mode")
    if mode == "floor":
        return _floor_divide(c, node, a)
    _check_divisor(c, node, a)
    quotient = _plain("Div")(c, node, a)
    return _toward_zero(c, quotient) if mode and c.dtype(node) == torch.float32 else quotient


def _floor_divide(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """(x - remainder) / y, as Python does it: rounding x / y would be wrong where the quotient is almost whole."""
    w, dtype = c.writer, c.dtype(node)
    x, y, rest = c.cast(a["self"], dtype), c.cast(a["other"], dtype), _remainder(c, node, a)
    quotient = w.node("Div", [w.node("Sub", [x, rest]), y])
    if dtype != torch.float32:
        return quotient
    whole, plain = w.node("Round", [quotient]), w.node("Div", [x, y])
    return w.node("Where", [w.node("Equal", [y, c.value(0.0)]), plain, whole])


def _remainder(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """With the sign of the divisor, as in Python."""
    _check_divisor(c, node, a)
    w, dtype = c.writer, c.dtype(node)
    x, y = c.cast(a["self"], dtype), c.cast(a["other"], dtype)
    if dtype != torch.float32:
        return w.node("Mod", [x, y])
    rest = w.node("Mod", [x, y], fmod=1)
    against = w.node("Less", [w.node("Mul", [w.node("Sign", [rest]), w.node("Sign", [y])]), c.value(0.0)])
    return w.node("Where", [against, w.node("Add", [rest, y]), rest])


def _fmod(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """With the sign of what is divided, as in C."""
    _check_divisor(c, node, a)
    return c.writer.node("Mod", [c.cast(a["self"], c.dtype(node)), c.cast(a["other"], c.dtype(node))], fmod=1)


def _check_divisor(c: Context, node: fx.Node, a: dict[str, Any]) -> None:
    """Raises `Unsupported` where whole numbers are divided by computed ones: a zero would end the process."""
    computed = isinstance(a["other"], fx.Node) and a["other"].op != "get_attr"
    if computed and c.dtype(node) != torch.float32:
        raise c.refusal(node, "of whole numbers by computed whole numbers")


def _pow(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Pow", [c.cast(a["self"], c.dtype(node)), c.cast(a["exponent"], c.dtype(node))])


def _relu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if c.dtype(node) == torch.float32:
        return c.writer.node("Relu", [c.value(a["self"])])
    return c.writer.node("Max", [c.value(a["self"]), c.value(0, c.dtype(node))])


def _square(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Mul", [c.value(a["self"])] * 2)


def _rsqrt(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Reciprocal", [c.writer.node("Sqrt", [c.cast(a["self"], torch.float32)])])


def _clamp(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Between bounds that are numbers or values; the upper one counts where they cross."""
    dtype, bounds = c.dtype(node), [a.get("min"), a.get("max")]
    x, names = c.cast(a["self"], dtype), [c.cast(b, dtype) if b is not None else "" for b in bounds]
    if not any(isinstance(bound, fx.Node) for bound in bounds):
        return c.writer.node("Clip", [x, *names] if names[1] else [x, names[0]])
    for operator, name in zip(("Max", "Min"), names, strict=True):
        x = c.writer.node(operator, [x, name]) if name else x
    return x


def _hardtanh(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    bounds = [c.value(a[key], c.dtype(node)) for key in ("min_val", "max_val")]
    return c.writer.node("Clip", [c.value(a["self"]), *bounds])


def _hardsigmoid(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("HardSigmoid", [c.value(a["self"])], alpha=1 / 6, beta=0.5)


def _leaky_relu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("LeakyRelu", [c.value(a["self"])], alpha=float(a["negative_slope"]))


def _read_once(c: Context, value: fx.Node) -> str:
    """A value for operators that become one kernel.

    ONNX Runtime converts codes to floats anew for each reader, and fuses no readers of different values: a sum of the
    value alone stands between.
    """
    name = c.value(value)
    return c.writer.node("Sum", [name]) if str(value.target).startswith(QUANTIZER) else name


def _silu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x = _read_once(c, a["self"])
    return c.writer.node("Mul", [x, c.writer.node("Sigmoid", [x])])


def _gelu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Hendrycks & Gimpel 2016, exact or by tanh; in the order of operators that ONNX Runtime fuses to one kernel."""
    w, x = c.writer, _read_once(c, a["self"])
    if a["approximate"] == "none":
        inner = w.node("Erf", [w.node("Div", [x, c.value(sqrt(2))])])
        return w.node("Mul", [w.node("Mul", [x, w.node("Add", [inner, c.value(1.0)])]), c.value(0.5)])
    cube = w.node("Mul", [w.node("Pow", [x, c.value(3.0)]), c.value(0.044715)])
    tanh = w.node("Tanh", [w.node("Mul", [w.node("Add", [x, cube]), c.value(sqrt(2 / pi))])])
    return w.node("Mul", [w.node("Mul", [x, c.value(0.5)]), w.node("Add", [tanh, c.value(1.0)])])


def _elu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """scale · x above 0, scale · alpha · (exp(input_scale · x) - 1) below."""
    w, x = c.writer, c.value(a["self"])
    if a["input_scale"] == 1:
        curved = w.node("Elu", [x], alpha=float(a["alpha"]))
    else:
        grown = w.node("Sub", [w.node("Exp", [w.node("Mul", [x, c.value(a["input_scale"])])]), c.value(1.0)])
        above = w.node("Greater", [x, c.value(0.0)])
        curved = w.node("Where", [above, x, w.node("Mul", [grown, c.value(a["alpha"])])])
    return curved if a["scale"] == 1 else w.node("Mul", [curved, c.value(a["scale"])])


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
    c.axis(node, a["dim"])
    half = c.shape(a["self"])[a["dim"]] // 2
    x, gate = c.writer.node("Split", [c.value(a["self"]), c.whole([half, half])], 2, axis=a["dim"])
    return c.writer.node("Mul", [x, c.writer.node("Sigmoid", [gate])])


def _addcmul(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return _plus_scaled(c, node, a, "Mul")


def _addcdiv(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return _plus_scaled(c, node, a, "Div")


def _plus_scaled(c: Context, node: fx.Node, a: dict[str, Any], operator: str) -> str:
    """self + value · (tensor1 · or / tensor2)."""
    dtype = c.dtype(node)
    found = c.writer.node(operator, [c.cast(a["tensor1"], dtype), c.cast(a["tensor2"], dtype)])
    if a["value"] != 1:
        found = c.writer.node("Mul", [found, c.value(a["value"], dtype)])
    return c.writer.node("Add", [c.cast(a["self"], dtype), found])


def _where(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if "self" not in a:
        raise c.refusal(node, "that gives places")
    return _choose(c, node, a["condition"], a["self"], a["other"])


def _masked_fill(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return _choose(c, node, a["mask"], a["value"], a["self"])


def _choose(c: Context, node: fx.Node, condition: fx.Node, first: Any, second: Any) -> str:
    w, dtype = c.writer, c.dtype(node)
    chosen, x, y = c.cast(condition, torch.bool), c.cast(first, dtype), c.cast(second, dtype)
    if dtype != torch.bool:
        return w.node("Where", [chosen, x, y])
    return w.node("Or", [w.node("And", [chosen, x]), w.node("And", [w.node("Not", [chosen]), y])])


def _threshold(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x, bound, value = c.value(a["self"]), *(c.value(a[key], c.dtype(node)) for key in ("threshold", "value"))
    return c.writer.node("Where", [c.writer.node("Greater", [x, bound]), x, value])


def _hardshrink(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    x = c.value(a["self"])
    far = c.writer.node("Greater", [c.writer.node("Abs", [x]), c.value(a["lambd"])])
    return c.writer.node("Where", [far, x, c.value(0.0)])


def _log1p(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """log(u) · x / (u - 1) with u = 1 + x, exact for small x too (Kahan); x itself where u is 1."""
    w, x = c.writer, c.cast(a["self"], torch.float32)
    u = w.node("Add", [x, c.value(1.0)])
    exact = w.node("Mul", [w.node("Log", [u]), w.node("Div", [x, w.node("Sub", [u, c.value(1.0)])])])
    return w.node("Where", [w.node("Equal", [u, c.value(1.0)]), x, exact])


def _softshrink(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Shrink", [c.value(a["self"])], bias=float(a["lambd"]), lambd=float(a["lambd"]))


def _rrelu(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a["training"]:
        raise c.refusal(node, "with slopes drawn at random")
    return c.writer.node("LeakyRelu", [c.value(a["self"])], alpha=(a["lower"] + a["upper"]) / 2)


def _full_like(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """One number for each of a value."""
    number = {"zeros_like": 0, "ones_like": 1}.get(operator_name(node), a.get("fill_value"))
    return c.writer.node("Expand", [c.value(number, c.dtype(node)), c.writer.node("Shape", [c.value(a["self"])])])


def _cast(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.cast(a["self"], c.dtype(node))


SAME = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "selu": "Selu", "mish": "Mish", "exp": "Exp",
    "log": "Log", "abs": "Abs", "neg": "Neg", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "mul": "Mul",
    "matmul": "MatMul", "bmm": "MatMul", "erf": "Erf", "sin": "Sin", "cos": "Cos", "atan": "Atan", "sign": "Sign",
    "maximum": "Max", "minimum": "Min",
}  # fmt: skip
"""Operators that ONNX has too."""

OF_TRUTH = {"Mul": "And", "Add": "Or", "Max": "Or", "Min": "And"}
"""What PyTorch means by arithmetic of truth values."""

COMPARED = {"eq": "Equal", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual"}
LOGICAL = {"logical_not": "Not", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
BITWISE = {"bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor"}
ROUNDED = {"round": "Round", "floor": "Floor", "ceil": "Ceil"}

POINTWISE: dict[str, Translation] = (
    {name: _plain(operator) for name, operator in SAME.items()}
    | {name: _compared(operator) for name, operator in COMPARED.items()}
    | {name: _logical(operator) for name, operator in LOGICAL.items()}
    | {name: _bitwise(operator) for name, operator in BITWISE.items()}
    | {name: _rounded(operator) for name, operator in ROUNDED.items()}
    | {
    "relu": _relu, "add": _sum("Add"), "sub": _sum("Sub"), "rsub": _rsub, "div": _div, "floor_divide": _div,
    "remainder": _remainder, "fmod": _fmod, "pow": _pow, "trunc": _trunc, "ne": _differs, "bitwise_not": _bitwise_not,
    "square": _square, "rsqrt": _rsqrt, "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp, "clamp_max": _clamp,
    "hardtanh": _hardtanh, "hardsigmoid": _hardsigmoid, "leaky_relu": _leaky_relu, "silu": _silu, "gelu": _gelu,
    "elu": _elu, "celu": _celu, "softplus": _softplus, "log_sigmoid": _log_sigmoid, "glu": _glu, "addcmul": _addcmul,
    "addcdiv": _addcdiv, "where": _where, "threshold": _threshold, "hardshrink": _hardshrink, "rrelu": _rrelu,
    "softshrink": _softshrink, "masked_fill": _masked_fill, "log1p": _log1p, "zeros_like": _full_like,
    "ones_like": _full_like, "full_like": _full_like, "to": _cast,
    }
)  # fmt: skip
