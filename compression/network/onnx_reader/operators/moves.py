"""Operators that move values: reshapes, slices, gathers, paddings, resizing."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F

from compression.errors import InvalidModel
from compression.network.onnx_reader.operators.products import PRODUCTS
from compression.network.onnx_reader.operators.values import axis_of, number, tensor
from compression.network.onnx_reader.program import Node
from compression.network.onnx_reader.sizes import axes_of, is_host, numbers, slices

Call = Callable[..., Any]


def _reshape(node: Node, x: Any, lengths: Any = None) -> torch.Tensor:
    x = tensor(x)
    wanted = list(node.get("shape", ())) if lengths is None else numbers(node, lengths, "shape")
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if type(n) is int and n == 0 and i < x.dim() else n for i, n in enumerate(wanted)]
    return x.flatten(1) if _flattens(x, wanted) else x.reshape(wanted)


def _flattens(x: torch.Tensor, wanted: list[Any]) -> bool:
    """Whether a reshape makes one axis of all behind the first."""
    if len(wanted) != 2 or x.dim() < 3:
        return False
    rest = math.prod(x.shape[1:])
    return (_same(wanted[0], x.shape[0]) and wanted[1] in (-1, rest)) or (wanted[0] == -1 and _same(wanted[1], rest))


def _same(a: Any, b: Any) -> bool:
    return str(a) == str(b)


def _flatten(node: Node, x: torch.Tensor) -> torch.Tensor:
    axis = axis_of(node, x, 1)
    if axis == 1:
        return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    return x.reshape(1 if axis == 0 else math.prod(x.shape[:axis]), -1)


def _transpose(node: Node, x: Any) -> torch.Tensor:
    x = tensor(x)
    return x.permute(node.get("perm") or list(range(x.dim()))[::-1])


def _squeeze(node: Node, x: Any, axes: Any = None) -> torch.Tensor:
    x, wanted = tensor(x), axes_of(node, axes)
    return torch.squeeze(x) if wanted is None else torch.squeeze(x, tuple(axis % x.dim() for axis in wanted))


def _unsqueeze(node: Node, x: Any, axes: Any = None) -> torch.Tensor:
    x, wanted = tensor(x), axes_of(node, axes) or []
    rank = x.dim() + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node, *values: Any) -> torch.Tensor:
    tensors = [tensor(value) for value in values]
    axis = axis_of(node, tensors[0], 0)
    images = next((each.shape[0] for each in tensors if not _same(each.shape[0], 1)), None)
    if axis and images is not None:  # a stored token was given for a single image
        tensors = [each.expand(images, *each.shape[1:]) if _same(each.shape[0], 1) else each for each in tensors]
    return torch.cat(tensors, axis)


def _split(node: Node, x: Any, parts: Any = None) -> tuple[torch.Tensor, ...]:
    x = tensor(x)
    axis = axis_of(node, x, 0)
    lengths = numbers(node, parts, "list of parts") if parts is not None else node.get("split")
    if lengths is None:
        length, count = x.shape[axis], node.get("num_outputs", len(node.outputs))
        return torch.split(x, -(-length // count), axis)
    if len(set(map(str, lengths))) == 1:
        return torch.split(x, lengths[0], axis)
    return torch.split(x, list(lengths), axis)


def _slice(node: Node, x: Any, *given: Any) -> torch.Tensor:
    x = tensor(x)
    for axis, start, end, step in slices(node, x.dim(), given):
        if type(step) is int and step < 0:
            x = _backwards(node, x, axis, start, end, step)
        elif not (type(start) is int and start == 0 and step == 1 and type(end) is int and end >= 1 << 30):
            x = torch.ops.aten.slice.Tensor(x, axis, start, end, step)
    return x


def _backwards(node: Node, x: torch.Tensor, axis: int, start: int, end: int, step: int) -> torch.Tensor:
    length = x.shape[axis]
    if type(length) is not int:
        raise InvalidModel(f"{node.said} turns the order of images round; that of other axes is possible.")
    picked = list(range(length))[start : None if end < -length else end : step]
    if picked == list(range(length))[::-1]:
        return x.flip(axis)
    return x.index_select(axis, torch.tensor(picked))


def _gather(node: Node, x: Any, places: Any) -> torch.Tensor:
    x = tensor(x)
    axis = axis_of(node, x, 0)
    if is_host(places) and places.size == 1 and not places.ndim:
        return torch.select(x, axis, int(places))
    if is_host(places) and places.ndim == 1 and places.dtype != object and len(places):
        first, steps = int(places[0]), {int(b) - int(a) for a, b in pairwise(places)}
        if steps <= {1} and first >= 0:
            return torch.ops.aten.slice.Tensor(x, axis, first, first + len(places))
    where = tensor(places).long()
    length = x.shape[axis]
    where = torch.where(where < 0, where + length, where) if _may_be_negative(places) else where
    if where.dim() == 1:
        return torch.index_select(x, axis, where)
    found = torch.index_select(x, axis, where.reshape(-1))
    return found.reshape([*x.shape[:axis], *where.shape, *x.shape[axis + 1 :]])


def _may_be_negative(places: Any) -> bool:
    return bool((places < 0).any()) if is_host(places) and places.dtype != object else False


def _gather_elements(node: Node, x: Any, places: Any) -> torch.Tensor:
    x = tensor(x)
    return torch.gather(x, axis_of(node, x, 0), tensor(places).long())


def _gather_nd(node: Node, x: Any, places: Any) -> torch.Tensor:
    if node.get("batch_dims", 0):
        raise InvalidModel(f"{node.said} picks other places in each image; the same in each are possible.")
    return tensor(x)[tuple(tensor(places).long().unbind(-1))]


def _scatter_nd(node: Node, x: Any, places: Any, new: Any) -> torch.Tensor:
    if node.get("reduction", "none") not in ("none", "add"):
        raise InvalidModel(f"{node.said} combines values by {node.get('reduction')!r}; none and add are possible.")
    where = tuple(tensor(places).long().unbind(-1))
    return torch.index_put(tensor(x), where, tensor(new), accumulate=node.get("reduction", "none") == "add")


def _scatter_elements(node: Node, x: Any, places: Any, new: Any) -> torch.Tensor:
    x = tensor(x)
    return torch.scatter(x, axis_of(node, x, 0), tensor(places).long(), tensor(new))


def _expand(node: Node, x: Any, lengths: Any) -> torch.Tensor:
    x, wanted = tensor(x), numbers(node, lengths, "shape")
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    have = [1] * (len(wanted) - x.dim()) + list(x.shape)
    shape = [n if type(w) is int and w == 1 else w for n, w in zip(have, wanted, strict=True)]
    return x if list(map(str, shape)) == list(map(str, x.shape)) else x.expand(shape)


def _tile(node: Node, x: Any, times: Any) -> torch.Tensor:
    return tensor(x).repeat(numbers(node, times, "count"))


def _pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> torch.Tensor:
    x = tensor(x)
    amounts = numbers(node, pads, "padding") if pads is not None else node.get("pads") or node.get("paddings") or []
    filled = number(node, value, "value", node.get("value", 0.0))
    wanted = [axis % x.dim() for axis in numbers(node, axes, "list of axes")] if axes is not None else range(x.dim())
    each = {axis: (amounts[i], amounts[len(amounts) // 2 + i]) for i, axis in enumerate(wanted)}
    pairs = [each.get(axis, (0, 0)) for axis in range(x.dim())]
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    flat = [n for pair in pairs[::-1] for n in pair]
    mode = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}.get(
        node.get("mode", "constant")
    )
    if mode is None:
        raise InvalidModel(f"{node.said} pads by {node.get('mode')!r}; constant, edge, reflect and wrap are possible.")
    if not flat:
        return x
    return F.pad(x, flat, mode, filled) if mode == "constant" else F.pad(x, flat, mode)


def _resize(node: Node, x: torch.Tensor, *given: Any) -> torch.Tensor:
    sizes = _resized(node, x, given)
    if sizes == list(x.shape[2:]):
        return x
    mode, place = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample" or not node.get("opset", 13) > 10:
        place = "asymmetric"
    if mode == "nearest":
        floor = node.get("nearest_mode", "round_prefer_floor") == "floor" or node.op == "Upsample"
        whole = all(to % of == 0 for to, of in zip(sizes, x.shape[2:], strict=True))
        if (place == "asymmetric" and floor) or whole:
            return F.interpolate(x, sizes, mode="nearest")
        if place in ("half_pixel", "pytorch_half_pixel"):
            return F.interpolate(x, sizes, mode="nearest-exact")
    names = {"linear": "bilinear", "cubic": "bicubic"}
    if mode in names and place in ("half_pixel", "pytorch_half_pixel", "align_corners") and len(sizes) == 2:
        smooth = bool(node.get("antialias", 0))
        return F.interpolate(x, sizes, mode=names[mode], align_corners=place == "align_corners", antialias=smooth)
    raise InvalidModel(
        f"{node.said} resizes by {mode} at {place} places, which torch does not; export it with half_pixel or"
        " align_corners."
    )


def _resized(node: Node, x: torch.Tensor, given: tuple[Any, ...]) -> list[int]:
    """Height and width that a Resize or Upsample gives."""
    scales = given[0] if len(given) == 1 else given[1] if len(given) > 1 else None
    wanted = numbers(node, given[2], "size") if len(given) > 2 and given[2] is not None and given[2].size else None
    factors = node.get("scales") if scales is None else scales.reshape(-1).tolist() if is_host(scales) else None
    axes = [axis % x.dim() for axis in node.get("axes") or range(x.dim())]
    lengths = list(x.shape)
    for i, axis in enumerate(axes):
        if wanted:
            lengths[axis] = wanted[i]
        elif factors and axis > 1:
            lengths[axis] = math.floor(lengths[axis] * factors[i] + 1e-6)
    if not (wanted or factors) or not all(type(n) is int for n in lengths[2:]):
        raise InvalidModel(f"{node.said} has no fixed size; export the network with a fixed input size.")
    return lengths[2:]


def _depth_to_space(node: Node, x: torch.Tensor) -> torch.Tensor:
    size = node.get("blocksize", 1)
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    n, c, h, w = x.shape
    parts = x.reshape([n, size, size, c // size**2, h, w]).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape([n, c // size**2, h * size, w * size])


def _space_to_depth(node: Node, x: torch.Tensor) -> torch.Tensor:
    size = node.get("blocksize", 1)
    n, c, h, w = x.shape
    parts = x.reshape([n, c, h // size, size, w // size, size]).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape([n, c * size**2, h // size, w // size])


def _col2im(node: Node, x: torch.Tensor, sizes: Any, kernel: Any) -> torch.Tensor:
    """Maps that patches add up to."""
    lengths, window = numbers(node, sizes, "size"), numbers(node, kernel, "kernel")
    pads = list(node.get("pads") or [0] * 2 * len(window))
    if len(window) != 2 or len(lengths) != 2 or pads[:2] != pads[2:]:
        raise InvalidModel(
            f"{node.said} has {len(window)} axes and pads {pads[:8]}; 2 and the same at both ends are possible."
        )
    dilation, stride = node.get("dilations") or [1, 1], node.get("strides") or [1, 1]
    return F.fold(x, *(tuple(each) for each in (lengths, window, dilation, pads[:2], stride)))


def _filled(node: Node, lengths: Any) -> torch.Tensor:
    value = node.get("value")
    kind = tensor(value).dtype if value is not None else torch.float32
    return torch.full(
        numbers(node, lengths, "shape"), value.reshape(-1)[0].item() if value is not None else 0.0, dtype=kind
    )


def _range(node: Node, start: Any, end: Any, step: Any) -> torch.Tensor:
    return torch.arange(*(number(node, each, "range") for each in (start, end, step)))


def _triangle(node: Node, x: Any, offset: Any = None) -> torch.Tensor:
    call = torch.triu if node.get("upper", 1) else torch.tril
    return call(tensor(x), number(node, offset, "diagonal", 0))


def _one_hot(node: Node, places: Any, depth: Any, values: Any) -> torch.Tensor:
    count, (off, on) = number(node, depth, "depth"), tensor(values).reshape(-1)
    hot = (tensor(places).long().unsqueeze(-1) == torch.arange(count)).movedim(-1, node.get("axis", -1))
    return torch.where(hot, on, off)


MOVES: dict[str, Call] = {
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements,
    "GatherND": _gather_nd, "ScatterND": _scatter_nd, "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
    "Expand": _expand, "Tile": _tile, "Pad": _pad, "Resize": _resize, "Upsample": _resize,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth, "ConstantOfShape": _filled, "Range": _range,
    "Trilu": _triangle, "OneHot": _one_hot, "Col2Im": _col2im,
}  # fmt: skip

HOST_INPUTS = {
    "Reshape": {1}, "Squeeze": {1}, "Unsqueeze": {1}, "Split": {1}, "Slice": {1, 2, 3, 4}, "Expand": {1}, "Tile": {1},
    "Pad": {1, 2, 3}, "Resize": {1, 2, 3}, "Upsample": {1}, "ConstantOfShape": {0}, "Range": {0, 1, 2},
    "Clip": {1, 2}, "TopK": {1}, "CumSum": {1}, "Trilu": {1}, "OneHot": {1, 2}, "Col2Im": {1, 2}, "Dropout": {1, 2},
    **{name: {1} for name in PRODUCTS if name.startswith("Reduce")},
}  # fmt: skip
"""Inputs that are sizes or settings: host values, whatever their type."""
