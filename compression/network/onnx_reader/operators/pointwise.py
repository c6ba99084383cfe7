"""Activations, arithmetic and comparisons."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F

from compression.errors import InvalidModel
from compression.network.onnx_reader.operators.values import number, operands, tensor
from compression.network.onnx_reader.program import Node
from compression.network.onnx_reader.sizes import KINDS

Call = Callable[..., Any]

TYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.int64, 5: torch.int16, 6: torch.int32,
         7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float32, 12: torch.int64, 13: torch.int64,
         16: torch.float32}  # fmt: skip


def _unary(call: Callable[[torch.Tensor], torch.Tensor]) -> Call:
    return lambda node, x: call(tensor(x))


def _binary(call: Callable[[Any, Any], Any]) -> Call:
    def apply(node: Node, a: Any, b: Any) -> Any:
        return call(*operands(a, b))

    return apply


def _several(call: Callable[[Any, Any], Any]) -> Call:
    return lambda node, *values: reduce(lambda a, b: call(*operands(a, b)), values[1:], tensor(values[0]))


def _quotient(a: Any, b: Any) -> Any:
    whole = all(not torch.is_floating_point(v) if isinstance(v, torch.Tensor) else isinstance(v, int) for v in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _larger(a: Any, b: Any) -> Any:
    return _bounded(a, b, torch.maximum, "min")


def _smaller(a: Any, b: Any) -> Any:
    return _bounded(a, b, torch.minimum, "max")


def _bounded(a: Any, b: Any, call: Callable[[Any, Any], Any], side: str) -> Any:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return call(a, b)
    return torch.clamp(a, **{side: b}) if isinstance(a, torch.Tensor) else torch.clamp(b, **{side: a})


def _modulus(node: Node, a: Any, b: Any) -> Any:
    a, b = operands(a, b)
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _clip(node: Node, x: torch.Tensor, low: Any = None, high: Any = None) -> torch.Tensor:
    low = number(node, low, "least value", node.get("min"))
    high = number(node, high, "largest value", node.get("max"))
    low = None if low is None or low <= -3.4e38 else low
    high = None if high is None or high >= 3.4e38 else high
    x = tensor(x)
    if low is None and high is None:
        return x
    if low == 0 and high is None:
        return F.relu(x)
    if low == 0 and high == 6:
        return F.relu6(x)
    return torch.clamp(x, low, high)


def _hard_sigmoid(node: Node, x: torch.Tensor) -> torch.Tensor:
    slope, offset = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(slope - 1 / 6) < 1e-4 and offset == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * slope + offset, 0, 1)


def _gelu(node: Node, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(tensor(x), approximate=node.get("approximate", "none"))


def _fast_gelu(node: Node, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


def _bias_gelu(node: Node, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.gelu(x + bias)


def _swish(node: Node, x: torch.Tensor) -> torch.Tensor:
    slope = node.get("alpha", 1.0)
    return F.silu(x) if slope == 1 else x * torch.sigmoid(x * slope)


def _selu(node: Node, x: torch.Tensor) -> torch.Tensor:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    usual = math.isclose(alpha, 1.6732632, rel_tol=1e-5) and math.isclose(gamma, 1.0507010, rel_tol=1e-5)
    return F.selu(x) if usual else F.elu(x, alpha) * gamma


def _prelu(node: Node, x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    slopes = tensor(slopes)
    each = slopes.numel() == 1 or (
        x.dim() > 1 and slopes.numel() == x.shape[1] == slopes.shape[-min(x.dim() - 1, slopes.dim())]
    )
    return F.prelu(x, slopes.reshape(-1)) if each else torch.where(x > 0, x, x * slopes)


def _cast(node: Node, x: torch.Tensor, *_: Any) -> torch.Tensor:
    kind = TYPES.get(node.get("to", 1))
    if kind is None or node.get("to") not in KINDS:
        raise InvalidModel(f"{node.said} makes values of type {node.get('to')}; numbers are possible.")
    x = tensor(x)
    return x if x.dtype == kind else x.to(kind)


def _where(node: Node, condition: Any, a: Any, b: Any) -> torch.Tensor:
    a, b = operands(a, b) if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) else (tensor(a), tensor(b))
    return torch.where(tensor(condition).bool(), a, b)


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, float) and b == int(b) and abs(b) < 100:
        b = int(b)
    return torch.pow(a, b)


def _mean(node: Node, *values: Any) -> torch.Tensor:
    return POINTWISE["Sum"](node, *values) / len(values)


def _same(node: Node, x: Any, *_: Any) -> Any:
    return x


UNARY: dict[str, Call] = {
    "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "HardSwish": F.hardswish, "Mish": F.mish,
    "Softplus": F.softplus, "Softsign": F.softsign, "Erf": torch.erf, "Exp": torch.exp, "Log": torch.log,
    "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal, "Neg": torch.neg, "Abs": torch.abs, "Floor": torch.floor,
    "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos,
    "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh,
    "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh, "Not": torch.logical_not,
    "IsNaN": torch.isnan, "IsInf": torch.isinf,
}  # fmt: skip

POINTWISE: dict[str, Call] = {
    "Identity": _same, "Dropout": _same, "Cast": _cast,
    "CastLike": lambda node, x, like: tensor(x).to(tensor(like).dtype),
    "Clip": _clip, "PRelu": _prelu, "Gelu": _gelu, "Where": _where, "Mean": _mean, "Mod": _modulus, "Selu": _selu,
    "HardSigmoid": _hard_sigmoid, "Swish": _swish,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
    "ThresholdedRelu": lambda node, x: F.threshold(x, node.get("alpha", 1.0), 0.0),
    "Shrink": lambda node, x: F.softshrink(x, node.get("lambd", 0.5))
    if node.get("bias", 0.0) == node.get("lambd", 0.5) else torch.where(x.abs() > node.get("lambd", 0.5), x - x.sign()
                                                                       * node.get("bias", 0.0), torch.zeros_like(x)),
    "Max": _several(_larger), "Min": _several(_smaller), "Sum": _several(lambda a, b: a + b),
    **{name: _unary(call) for name, call in UNARY.items()},
    **{name: _binary(call) for name, call in {
        "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Div": _quotient,
        "Pow": _power, "Equal": lambda a, b: a == b, "Less": lambda a, b: a < b, "LessOrEqual": lambda a, b: a <= b,
        "Greater": lambda a, b: a > b, "GreaterOrEqual": lambda a, b: a >= b, "And": lambda a, b: a & b,
        "Or": lambda a, b: a | b, "Xor": lambda a, b: a ^ b,
    }.items()},
}  # fmt: skip

OF_MICROSOFT: dict[str, Call] = {
    "Gelu": _gelu, "FastGelu": _fast_gelu, "BiasGelu": _bias_gelu,
    "QuickGelu": lambda node, x: x * torch.sigmoid(x * node.get("alpha", 1.702)),
}  # fmt: skip
"""Operators that ONNX Runtime writes into files that it optimized."""
