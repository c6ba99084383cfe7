"""Arguments and results of a node in a `.pt2` graph, from their tagged JSON to numbers, types and values by name."""

import math
from collections.abc import Callable
from typing import Any

import torch

from compression.errors import InvalidModel
from compression.network.pt2.fields import Malformed, expected, is_a, member, shown, variant, whole
from compression.network.pt2.operators import Value
from compression.network.pt2.tensors import STRIDED, computed, dtype

INT64 = 1 << 63

MEMORY_FORMATS = {
    1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format,
}  # fmt: skip


Scope = dict[str, Value]
"""Values by the names that they have in one graph."""


def argument(tagged: Any, scope: Scope) -> Any:
    """What is passed to an operator, with a `Value` for all that is computed."""
    tag, value = variant(tagged)
    if tag not in READ:
        raise InvalidModel(f"The network passes {shown(tag)} to an operator; numbers and tensors are allowed.")
    return READ[tag](value, scope)


def values(argument: Any) -> list[Value]:
    """All values that an argument holds."""
    if isinstance(argument, Value):
        return [argument]
    if isinstance(argument, dict):
        argument = list(argument.values())
    return [each for item in argument for each in values(item)] if isinstance(argument, list | tuple) else []


def names_in(output: Any) -> list[str | None]:
    """Names of the values that an output stands for."""
    tag, value = variant(output)
    if tag == "as_none":
        return [None]
    if tag == "as_tensor":
        return [member(value, "name", str)]
    if tag == "as_tensors":
        return [member(each, "name", str) for each in expected(value, list, "'as_tensors'")]
    if tag in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return [member(value, "as_name", str)]
    raise Malformed(f"a node gives {shown(output)}")


def _scalar(kind: type) -> Callable[[Any, Any], Any]:
    return lambda value, _: expected(value, kind, f"an argument 'as_{kind.__name__}'")


def _int(value: Any, _: Any) -> int:
    return whole(value, "a whole number", least=-INT64, most=INT64 - 1)


def _float(value: Any, _: Any) -> float:
    """A float; torch.export writes those that JSON lacks as texts."""
    if is_a(value, int):
        return float(_int(value, None))
    named = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
    if is_a(value, str) and value in named:
        return named[value]
    if not is_a(value, float):
        raise Malformed(f"a float is {shown(value)}")
    return value


def _tensor(value: Any, scope: Scope) -> Value:
    return _known(member(value, "name", str), scope)


def _known(name: str, scope: Scope) -> Value:
    if name not in scope:
        raise Malformed(f"its value {shown(name)} is read before it is made")
    return scope[name]


def _symbolic(value: Any, scope: Scope) -> Any:
    """A size: the name of a value, or a plain number."""
    tag, content = variant(value)
    plain: dict[str, Callable[[Any, Any], Any]] = {"as_int": _int, "as_float": _float, "as_bool": _scalar(bool)}
    if tag == "as_name":
        return _known(expected(content, str, "'as_name'"), scope)
    if tag not in plain:
        raise Malformed(f"a size is {shown(value)}")
    return plain[tag](content, None)


def _perhaps(value: Any, scope: Scope) -> Value | None:
    tag, content = variant(value)
    if tag not in ("as_tensor", "as_none"):
        raise Malformed(f"an optional tensor is {shown(value)}")
    return _tensor(content, scope) if tag == "as_tensor" else None


def _each(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], list[Any]]:
    return lambda value, scope: [read(each, scope) for each in expected(value, list, "an argument")]


def _dtype(value: Any, _: Any) -> torch.dtype:
    return computed(dtype(value))


def _memory_format(value: Any, _: Any) -> torch.memory_format:
    number = expected(value, int, "a memory format")
    if number not in MEMORY_FORMATS:
        raise Malformed(f"a memory format is {shown(value)}")
    return MEMORY_FORMATS[number]


def _layout(value: Any, _: Any) -> torch.layout:
    if expected(value, int, "a layout") != STRIDED:
        raise InvalidModel("The network makes sparse tensors; dense ones are allowed.")
    return torch.strided


READ: dict[str, Callable[[Any, Scope], Any]] = {
    "as_none": lambda value, scope: None, "as_int": _int, "as_float": _float, "as_bool": _scalar(bool),
    "as_string": _scalar(str), "as_tensor": _tensor, "as_tensors": _each(_tensor), "as_ints": _each(_int),
    "as_floats": _each(_float), "as_bools": _each(_scalar(bool)), "as_sym_int": _symbolic, "as_sym_float": _symbolic,
    "as_sym_bool": _symbolic, "as_sym_ints": _each(_symbolic), "as_sym_floats": _each(_symbolic),
    "as_optional_tensor": _perhaps, "as_optional_tensors": _each(_perhaps), "as_scalar_type": _dtype,
    "as_memory_format": _memory_format, "as_layout": _layout, "as_device": lambda value, scope: torch.device("cpu"),
}  # fmt: skip
"""How each kind of argument is read, by its tag in `torch._export.serde.schema.Argument`."""
