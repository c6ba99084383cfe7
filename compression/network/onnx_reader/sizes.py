"""Arithmetic on sizes: chains of Shape, Gather and Concat, in NumPy arrays beside the network's tensors.

A size that follows the number of images is a `torch.SymInt` while the network is traced, in an array of objects; so
such chains need no folding, whatever batch they were exported for. Values are called host values here: arrays of whole
numbers, truth values or a few floats, up to `MOST` numbers; what is larger is computed by torch.
"""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import numpy as np
import torch

from compression.errors import InvalidModel
from compression.network.onnx_reader.program import Node

MOST = 4096
"""Numbers in a host value."""

KINDS = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
         10: np.float32, 11: np.float32, 12: np.uint32, 13: np.uint64, 16: np.float32}  # fmt: skip
"""Types by their number in `onnx.TensorProto`; floats of every width are computed in 32 bits."""


def host(values: Iterable[Any], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An array of numbers, some of which may be sizes that are not known yet."""
    values = list(values)
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return settled(array.reshape(shape) if shape is not None else array)


def settled(array: Any) -> np.ndarray:
    """An array of plain numbers where it holds nothing else."""
    if not isinstance(array, np.ndarray):  # what NumPy gives for one element
        return host([array], ()) if not isinstance(array, np.generic) else np.asarray(array)
    if array.dtype != object:
        return array
    kinds = {type(value) for value in array.flat}
    if kinds <= {int, bool, np.int64} and kinds:
        return array.astype(np.bool_ if kinds == {bool} else np.int64)
    return array.astype(np.float32) if kinds and kinds <= {int, float, np.float32, np.float64} else array


def is_host(value: Any) -> TypeGuard[np.ndarray]:
    """Whether a value is computed beside the network's tensors."""
    return isinstance(value, np.ndarray)


def numbers(node: Node, value: Any, what: str) -> list[Any]:
    """A list of whole numbers. Raises `InvalidModel` where they are computed from the image."""
    if not is_host(value):
        raise InvalidModel(
            f"The {what} of {node.said} is computed from the image's pixels; a fixed one is needed. Export the network"
            " with a fixed input size, or simplify the file first."
        )
    return [int(each) if isinstance(each, np.number | bool | float) else each for each in value.reshape(-1).tolist()]


def axes_of(node: Node, given: Any) -> list[int] | None:
    """Axes as an attribute or, in newer files, as an input; None where there are none."""
    if is_host(given):
        return numbers(node, given, "list of axes") or None
    axes = node.get("axes")
    return list(axes) if axes is not None else None


def _elementwise(call: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def apply(node: Node, *values: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(value.shape for value in values))
        _bounded(node, math.prod(shape))
        spread = [np.broadcast_to(value, shape).reshape(-1) for value in values]
        if any(value.dtype == object for value in values):
            return host((call(*(_plain(each) for each in row)) for row in zip(*spread, strict=True)), shape)
        kind = np.result_type(*values)
        found = host((call(*(_plain(each) for each in row)) for row in zip(*spread, strict=True)), shape)
        keeps = found.dtype.kind == kind.kind or (found.dtype.kind in "iu" and kind.kind in "iuf")
        return found.astype(kind) if keeps else found

    return apply


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _quotient(a: Any, b: Any) -> Any:
    """Division, of whole numbers towards zero as in ONNX."""
    if isinstance(a, float | torch.SymFloat) or isinstance(b, float | torch.SymFloat):
        return a / b
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a // b


def _least(a: Any, b: Any) -> Any:
    return torch.sym_min(a, b) if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt) else min(a, b)


def _most(a: Any, b: Any) -> Any:
    return torch.sym_max(a, b) if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt) else max(a, b)


def _bounded(node: Node, count: int) -> None:
    """Raises `Large` for more numbers than host values may have."""
    if count > MOST:
        raise Large(node.said)


class Large(Exception):
    """A value is too large to be computed beside the tensors; torch computes it."""


def _shape(node: Node, value: Any) -> np.ndarray:
    lengths = list(value.shape)
    return host(lengths[node.get("start", 0) : node.get("end", len(lengths))])


def _size(node: Node, value: Any) -> np.ndarray:
    return host([math.prod(value.shape)], ())


def _cast(node: Node, value: np.ndarray, *_: Any) -> np.ndarray:
    kind = KINDS.get(node.get("to", 1))
    if kind is None:
        raise InvalidModel(f"{node.said} makes values of type {node.get('to')}; numbers are possible.")
    if value.dtype != object:
        return value.astype(kind)
    whole = np.issubdtype(kind, np.integer)
    return host(
        (torch.sym_int(each) if whole and isinstance(each, torch.SymFloat) else each for each in value.flat),
        value.shape,
    )


def _cast_like(node: Node, value: np.ndarray, like: np.ndarray) -> np.ndarray:
    return value.astype(like.dtype) if "O" not in (value.dtype.kind, like.dtype.kind) else value


def _gather(node: Node, value: np.ndarray, places: np.ndarray) -> np.ndarray:
    axis = node.get("axis", 0)
    return settled(np.take(value, places.astype(np.int64), axis=axis))


def _slice(node: Node, value: np.ndarray, *given: np.ndarray | None) -> np.ndarray:
    cuts = [slice(None)] * value.ndim
    for axis, start, end, step in slices(node, value.ndim, given):
        cuts[axis] = slice(start, None if step < 0 and end < -value.shape[axis] else end, step)
    return settled(value[tuple(cuts)])


def slices(node: Node, rank: int, given: tuple[Any, ...]) -> list[tuple[int, Any, Any, int]]:
    """(axis, start, end, step) of each axis that a Slice cuts."""
    if given:
        starts, ends = numbers(node, given[0], "start"), numbers(node, given[1], "end")
        axes = numbers(node, given[2], "list of axes") if len(given) > 2 and given[2] is not None else None
        steps = numbers(node, given[3], "step") if len(given) > 3 and given[3] is not None else [1] * len(starts)
    else:
        starts, ends, axes = node.get("starts", []), node.get("ends", []), node.get("axes")
        steps = [1] * len(starts)
    axes = list(range(len(starts))) if axes is None else axes
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(not -rank <= axis < rank for axis in axes):
        raise InvalidModel(f"{node.said} cuts with {len(starts)} starts, {len(ends)} ends and axes {axes[:8]}.")
    return [(axis % rank, *cut) for axis, *cut in zip(axes, starts, ends, steps, strict=True)]


def _concat(node: Node, *values: np.ndarray) -> np.ndarray:
    _bounded(node, sum(value.size for value in values))
    axis = node.get("axis", 0)
    if any(value.dtype == object for value in values):
        values = tuple(value.astype(object) for value in values)
    return settled(np.concatenate(values, axis))


def _squeeze(node: Node, value: np.ndarray, axes: Any = None) -> np.ndarray:
    wanted = axes_of(node, axes)
    return value.squeeze(tuple(wanted) if wanted else None)


def _unsqueeze(node: Node, value: np.ndarray, axes: Any = None) -> np.ndarray:
    return np.expand_dims(value, tuple(axes_of(node, axes) or ()))


def _reshape(node: Node, value: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return value.reshape(numbers(node, lengths, "shape"))


def _reduced(call: Callable[[Any, Any], Any], begin: Any) -> Callable[..., np.ndarray]:
    def apply(node: Node, value: np.ndarray, axes: Any = None) -> np.ndarray:
        wanted = axes_of(node, axes)
        if value.ndim > 1 or (wanted and wanted not in ([0], [-1])):
            raise Large(node.said)
        flat = [_plain(each) for each in value.reshape(-1)]
        found = flat[0] if flat and begin is None else begin
        for each in flat if begin is not None else flat[1:]:
            found = call(found, each)
        return host([found], (1,) if node.get("keepdims", 1) and value.ndim else ())

    return apply


def _range(node: Node, start: np.ndarray, end: np.ndarray, step: np.ndarray) -> np.ndarray:
    begin, stop, by = (_plain(value.reshape(-1)[0]) for value in (start, end, step))
    if any(isinstance(each, torch.SymInt) for each in (begin, stop, by)) or not by:
        raise Large(node.said)
    _bounded(node, int((stop - begin) / by))
    return np.arange(begin, stop, by).astype(start.dtype if start.dtype != object else np.int64)


def _filled(node: Node, lengths: np.ndarray) -> np.ndarray:
    shape = numbers(node, lengths, "shape")
    if any(isinstance(each, torch.SymInt) for each in shape):
        raise Large(node.said)
    _bounded(node, math.prod(shape))
    value = node.get("value")
    number = value.reshape(-1)[0] if value is not None and value.size else np.float32(0)
    return np.full(shape, number)


def _expand(node: Node, value: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    shape = numbers(node, lengths, "shape")
    if any(isinstance(each, torch.SymInt) for each in shape):
        raise Large(node.said)
    wanted = np.broadcast_shapes(value.shape, tuple(shape))
    _bounded(node, math.prod(wanted))
    return np.broadcast_to(value, wanted)


def _clip(node: Node, value: np.ndarray, low: Any = None, high: Any = None) -> np.ndarray:
    """No less than `low` and no more than `high`, where these are given."""
    bounds = ((ARITHMETIC["Max"], node.get("min") if low is None else low),
              (ARITHMETIC["Min"], node.get("max") if high is None else high))  # fmt: skip
    for call, bound in bounds:
        value = value if bound is None else _elementwise(call)(node, value, np.asarray(bound))
    return value


def _hot(node: Node, places: np.ndarray, depth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values[1]` at one place along a new axis, `values[0]` at the others; negative places count from the end."""
    (length,), (off, on) = numbers(node, depth, "depth"), values.reshape(-1)
    _bounded(node, places.size * length)
    if places.dtype == object:
        raise Large(node.said)
    place, each = places[..., None], np.arange(length)
    hot = (place == each) | (place == each - length)
    return settled(np.moveaxis(np.where(hot, on, off), -1, node.get("axis", -1)))


def _tile(node: Node, value: np.ndarray, times: np.ndarray) -> np.ndarray:
    counts = numbers(node, times, "count")
    if any(isinstance(each, torch.SymInt) for each in counts):
        raise Large(node.said)
    _bounded(node, value.size * math.prod(counts))
    return np.tile(value, counts)


def _split(node: Node, value: np.ndarray, parts: Any = None) -> list[np.ndarray]:
    axis = node.get("axis", 0)
    lengths = numbers(node, parts, "list of parts") if parts is not None else node.get("split")
    if lengths is None:
        return [settled(part) for part in np.array_split(value, len(node.outputs), axis)]
    return [settled(part) for part in np.split(value, np.cumsum(lengths)[:-1], axis)]


def _scattered(node: Node, value: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    if node.get("reduction", "none") != "none":
        raise Large(node.said)
    found = value.astype(object)
    if node.op == "ScatterND":
        found[tuple(np.moveaxis(places.astype(np.int64), -1, 0))] = new
    else:
        np.put_along_axis(found, places.astype(np.int64), new.astype(object), node.get("axis", 0))
    kind = np.result_type(value, new)
    return settled(found).astype(kind) if kind.kind != "O" else settled(found)


def _transpose(node: Node, value: np.ndarray) -> np.ndarray:
    return value.transpose(node.get("perm"))


def _nonzero(node: Node, value: np.ndarray) -> np.ndarray:
    return np.stack(np.nonzero(value.astype(bool))).astype(np.int64)


def _summed(node: Node, value: np.ndarray, axis: np.ndarray) -> np.ndarray:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise Large(node.said)
    return np.cumsum(value, int(axis.reshape(-1)[0])).astype(value.dtype)


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": _quotient, "Min": _least, "Max": _most,
    "Equal": operator.eq, "Less": operator.lt, "LessOrEqual": operator.le, "Greater": operator.gt,
    "GreaterOrEqual": operator.ge, "Neg": operator.neg, "Abs": abs, "Floor": math.floor, "Ceil": math.ceil,
    "And": lambda a, b: bool(a) and bool(b), "Or": lambda a, b: bool(a) or bool(b), "Not": operator.not_,
    "Mod": operator.mod, "Sqrt": lambda a: a**0.5, "Where": lambda c, a, b: a if c else b,
    "Round": round, "Sign": lambda a: (a > 0) - (a < 0),
}  # fmt: skip

HOST: dict[str, Callable[..., Any]] = {
    "Identity": lambda node, value: value, "Cast": _cast, "Gather": _gather, "Slice": _slice, "Concat": _concat,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape, "Range": _range, "ConstantOfShape": _filled,
    "Expand": _expand, "Tile": _tile, "Split": _split, "ScatterND": _scattered, "ScatterElements": _scattered,
    "Transpose": _transpose, "NonZero": _nonzero, "CumSum": _summed,
    "CastLike": _cast_like, "OneHot": _hot, "Clip": _clip,
    "ReduceProd": _reduced(operator.mul, 1), "ReduceSum": _reduced(operator.add, 0),
    "ReduceMin": _reduced(_least, None),
    "ReduceMax": _reduced(_most, None),
    **{name: _elementwise(call) for name, call in ARITHMETIC.items()},
}  # fmt: skip
"""Operators on host values: `(node, *values)`; `Large` is raised where torch must compute one."""


def _followed(node: Node, lengths: np.ndarray, images: Any) -> np.ndarray:
    """Lengths with the number of images, times `factor`, at `axis`."""
    found = lengths.astype(object)
    found[node.get("axis")] = images.shape[0] * node.get("factor")
    return settled(found)


OF_TENSORS: dict[str, Callable[..., Any]] = {"Shape": _shape, "Size": _size, "FollowBatch": _followed}
"""Operators that read a tensor and give sizes."""
