"""ATen operators that pick, order, repeat or reshape numbers and compute nothing, written as ONNX nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from compression.errors import Unsupported
from compression.export.context import Context, Translation
from compression.network.graph import operator_name


def _cat(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Concat", [c.cast(part, c.dtype(node)) for part in a["tensors"]], axis=a["dim"])


def _stack(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    axis = a["dim"] % len(c.shape(node))
    parts = [c.writer.node("Unsqueeze", [c.cast(part, c.dtype(node)), c.whole([axis])]) for part in a["tensors"]]
    return c.writer.node("Concat", parts, axis=axis)


def _chunk(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    total = c.shape(a["self"])[a["dim"]]
    return _split_by(c, node, a, -(-total // a["chunks"]))


def _split(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    asked = a["split_size"] if "split_size" in a else a["split_sizes"]
    return _split_by(c, node, a, asked) if isinstance(asked, int) else _split_into(c, node, a, asked)


def _split_by(c: Context, node: fx.Node, a: dict[str, Any], size: int) -> list[str]:
    """Parts of `size`, the last one of what is left."""
    total = c.shape(a["self"])[a["dim"]]
    return _split_into(c, node, a, [min(size, total - start) for start in range(0, total, size)])


def _split_into(c: Context, node: fx.Node, a: dict[str, Any], sizes: Sequence[int]) -> list[str]:
    c.axis(node, a["dim"])
    made = c.writer.node("Split", [c.value(a["self"]), c.whole(sizes)], len(sizes), axis=a["dim"])
    return made if len(sizes) > 1 else [made]


def _getitem(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    values, place = c.names[node.args[0]], node.args[1]  # type: ignore[index]
    if values[place] is None:
        raise Unsupported(f"The places that {operator_name(node.args[0])!r} returns have no ONNX translation here yet.")  # type: ignore[arg-type]
    return values[place]


def _pad(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank, asked = len(c.shape(node)), list(a["pad"])
    pairs = [(0, 0)] * (rank - len(asked) // 2) + list(zip(asked[::2], asked[1::2], strict=True))[::-1]
    pads = c.whole([before for before, _ in pairs] + [after for _, after in pairs])
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[a["mode"]]
    if mode != "constant" and min(asked) < 0:
        raise c.refusal(node, f"by {asked} in mode {a['mode']!r}")
    filling = [c.value(a["value"] or 0, c.dtype(node))] if mode == "constant" else []
    return c.writer.node("Pad", [c.value(a["self"]), pads, *filling], mode=mode)


def _roll(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Along each axis, what leaves at one end comes in at the other."""
    value, shape, axes = c.value(a["self"]), c.shape(node), c.axes(node, a["dims"])
    for shift, axis in zip(a["shifts"], axes, strict=True):
        cut = -shift % shape[axis]
        ends = [(cut, 2**63 - 1), (0, cut)]
        parts = [c.writer.node("Slice", [value, c.whole([s]), c.whole([e]), c.whole([axis])]) for s, e in ends]
        value = c.writer.node("Concat", parts, axis=axis) if cut else value
    return value


def _flip(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if not a["dims"]:
        return c.value(a["self"])
    axes = c.axes(node, a["dims"])
    bounds = [[-1] * len(axes), [-(2**63)] * len(axes), axes, [-1] * len(axes)]
    return c.writer.node("Slice", [c.value(a["self"]), *(c.whole(b) for b in bounds)])


def _repeat(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Side by side along each axis, new ones in front; a stored value once for each image where an axis asks for it."""
    times, rank = list(a["repeats"] if "repeats" in a else a["dims"]), len(c.shape(node))
    value, fewer = c.value(a["self"]), rank - len(c.shape(a["self"]))
    times = [1] * (rank - len(times)) + times
    counted = [i for i, n in enumerate(times) if isinstance(n, fx.Node)]
    if counted and (counted != [0] or c.shape(node)[0] != 1 or a["self"].op != "get_attr"):
        raise c.refusal(node, "that depends on the number of images")
    value = c.writer.node("Unsqueeze", [value, c.whole(list(range(fewer)))]) if fewer else value
    fixed = [1 if i in counted else n for i, n in enumerate(times)]
    value = c.writer.node("Tile", [value, c.whole(fixed)]) if any(n != 1 for n in fixed) or not counted else value
    return _for_each_image(c, node, value) if counted else value


def _repeat_interleave(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Each entry along one axis several times in a row."""
    if not isinstance(a["repeats"], int) or a["dim"] is None:
        raise c.refusal(node, "with other repeats than a number along an axis")
    axis = a["dim"] % len(c.shape(node))
    apart = c.writer.node("Unsqueeze", [c.value(a["self"]), c.whole([axis + 1])])
    times = [a["repeats"] if i == axis + 1 else 1 for i in range(len(c.shape(node)) + 1)]
    return c.reshaped(c.writer.node("Tile", [apart, c.whole(times)]), node)


def _im2col(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Patches [n, C·kh·kw, places] of maps [n, C, H, W]: rows and columns of all patches are gathered."""
    if len(c.shape(a["self"])) != 4:
        raise c.refusal(node, "of values without a batch")
    w, value, (down, across) = c.writer, c.value(a["self"]), a["padding"]
    if down or across:
        value = w.node("Pad", [value, c.whole([0, 0, down, across] * 2), c.value(0, c.dtype(node))])
    windows = zip(c.shape(a["self"])[2:], a["kernel_size"], a["dilation"], a["padding"], a["stride"], strict=True)
    rows, columns = (c.writer.constant(_windows(*window)) for window in windows)
    patches = w.node("Gather", [w.node("Gather", [value, rows], axis=2), columns], axis=4)
    moved = w.node("Transpose", [patches], perm=[0, 1, 2, 4, 3, 5])  # n, C, kh, kw, places down, places across
    return w.node("Reshape", [moved, c.whole([0, *c.shape(node)[1:]])])


def _windows(length: int, kernel: int, dilation: int, padding: int, stride: int) -> np.ndarray:
    """Places along one padded axis, int64 [kernel, windows]."""
    last = length + 2 * padding - dilation * (kernel - 1)
    return dilation * np.arange(kernel)[:, None] + np.arange(0, last, stride)


def _col2im(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Maps of patches that overlap: their sum."""
    if len(c.shape(a["self"])) != 3:
        raise c.refusal(node, "of values without a batch")
    (down, across), sizes = a["padding"], [c.whole(a["output_size"]), c.whole(a["kernel_size"])]
    return c.writer.node(
        "Col2Im", [c.value(a["self"]), *sizes],
        dilations=list(a["dilation"]), pads=[down, across, down, across], strides=list(a["stride"]),
    )  # fmt: skip


def _index_select(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    c.axis(node, a["dim"])
    return c.writer.node("Gather", [c.value(a["self"]), c.value(a["index"])], axis=a["dim"])


def _flatten(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(a["self"]))
    start, end = (a[key] % rank if rank else 0 for key in ("start_dim", "end_dim"))
    if (start, end) == (1, rank - 1):
        return c.writer.node("Flatten", [c.value(a["self"])])
    return c.reshaped(c.value(a["self"]), node)


def _reshape(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """To the lengths of the value for one image; the one that depends on how many there are stays free."""
    return c.reshaped(c.value(a["self"]), node)


def _squeeze(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Squeeze", [c.value(a["self"]), c.whole(a["dim"])]) if a["dim"] else c.value(a["self"])


def _unsqueeze(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Unsqueeze", [c.value(a["self"]), c.whole([a["dim"]])])


def _transpose(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    order = list(range(len(c.shape(a["self"]))))
    i, j = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
    order[i], order[j] = order[j], order[i]
    return c.writer.node("Transpose", [c.value(a["self"])], perm=order)


def _permute(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(a["dims"])
    return c.writer.node("Transpose", [c.value(a["self"])], perm=[d % rank for d in a["dims"]])


def _movedim(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(node))
    source, target = (
        [d % rank for d in ([a[k]] if isinstance(a[k], int) else a[k])] for k in ("source", "destination")
    )
    rest = iter(d for d in range(rank) if d not in source)
    order = [source[target.index(d)] if d in target else next(rest) for d in range(rank)]
    return c.writer.node("Transpose", [c.value(a["self"])], perm=order)


def _narrow(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    start = a["start"] % c.shape(a["self"])[a["dim"]]
    return _slice(c, node, {**a, "start": start, "end": start + a["length"], "step": 1})


def _index(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Places along one axis, by a list."""
    chosen = [(axis, places) for axis, places in enumerate(a["indices"]) if places is not None]
    if len(chosen) != 1:
        raise c.refusal(node, "by several lists")
    axis, places = chosen[0]
    if c.dtype(places) == torch.bool:
        raise c.refusal(node, "by a mask that is computed from the image")
    c.axis(node, axis)
    return c.writer.node("Gather", [c.value(a["self"]), c.value(places)], axis=axis)


def _matrix_transpose(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return _transpose(c, node, {"self": a["self"], "dim0": -2, "dim1": -1})


def _reversed(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Transpose", [c.value(a["self"])], perm=list(range(len(c.shape(node))))[::-1])


def _select(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    c.axis(node, a["dim"])
    index = c.writer.constant(np.array(a["index"], np.int64))
    return c.writer.node("Gather", [c.value(a["self"]), index], axis=a["dim"])


def _unbind(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    c.axis(node, a["dim"])
    places = [c.writer.constant(np.array(i, np.int64)) for i in range(c.shape(a["self"])[a["dim"]])]
    return [c.writer.node("Gather", [c.value(a["self"]), place], axis=a["dim"]) for place in places]


def _slice(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    start, end = a["start"] or 0, a["end"]
    if (start, end, a["step"]) != (0, None, 1) and end != 2**63 - 1:
        c.axis(node, a["dim"])
    bounds = [[start], [end if end is not None else 2**63 - 1], [a["dim"]], [a["step"]]]
    return c.writer.node("Slice", [c.value(a["self"]), *[c.writer.constant(np.array(b, np.int64)) for b in bounds]])


def _expand(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """A value repeated along axes of length one; a stored one (a class token) for each image of the batch, too."""
    value, before, after = c.value(a["self"]), c.shape(a["self"]), c.shape(node)
    before = (1,) * (len(after) - len(before)) + before
    each = a["self"].op == "get_attr" and bool(c.values[node.name].counted)
    if each and (after[0] != 1 or c.values[node.name].counted != {0}):
        raise c.refusal(node, "of a stored tensor several times for each image")
    if "other" in a and all(_repeats_by_itself(reader, node, a["other"]) for reader in node.users):
        return value
    if before != after:
        lengths = [1 if length == found else length for found, length in zip(before, after, strict=True)]
        value = c.writer.node("Expand", [value, c.whole(lengths)])
    return _for_each_image(c, node, value) if each else value


def _repeats_by_itself(reader: fx.Node, expanded: fx.Node, other: fx.Node) -> bool:
    """Whether arithmetic joins what is expanded with the value in whose shape it is wanted."""
    return (
        operator_name(reader) in PAIRED
        and set(reader.all_input_nodes) == {expanded, other}
        and operator_name(other) != "expand_as"
    )


def _for_each_image(c: Context, node: fx.Node, value: str) -> str:
    """A stored value [1, …] once for each image of the batch."""
    dtype, zeros = c.dtype(node), _zeros(c, node, len(c.shape(node)))
    if dtype == torch.float32:
        return c.writer.node("Add", [value, zeros])
    return c.writer.node("Expand", [value, c.writer.node("Shape", [zeros])])


def _zeros(c: Context, node: fx.Node, rank: int) -> str:
    """A zero for each image of the batch, [n, 1, …]."""
    image = next(n for n in node.graph.nodes if n.op == "placeholder")
    axes = c.whole(list(range(1, len(c.shape(image)))))
    zeros = c.writer.node("Mul", [c.writer.node("ReduceMax", [c.value(image), axes], keepdims=0), c.value(0.0)])
    return c.writer.node("Reshape", [zeros, c.whole([-1] + [1] * (rank - 1))])


PAIRED = {"add", "sub", "mul", "div", "maximum", "minimum"}
"""Arithmetic of two values, whose axes of length one count for all lengths."""


def _pixel_shuffle(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    _check_maps(c, node)
    return c.writer.node("DepthToSpace", [c.value(a["self"])], blocksize=a["upscale_factor"], mode="CRD")


def _pixel_unshuffle(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    _check_maps(c, node)
    (_, channels, height, width), by = c.shape(a["self"]), a["downscale_factor"]
    blocks = [0, channels, height // by, by, width // by, by]
    apart = c.writer.node("Reshape", [c.value(a["self"]), c.whole(blocks)])
    moved = c.writer.node("Transpose", [apart], perm=[0, 1, 3, 5, 2, 4])
    return c.writer.node("Reshape", [moved, c.whole([0, *c.shape(node)[1:]])])


def _check_maps(c: Context, node: fx.Node) -> None:
    """Raises `Unsupported` for values that are not maps [n, channels, height, width]."""
    if len(c.shape(node)) != 4:
        raise c.refusal(node, f"of values of {len(c.shape(node))} dimensions")


def _channel_shuffle(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    shape, groups = c.shape(node), a["groups"]
    apart = c.writer.node("Reshape", [c.value(a["self"]), c.whole([0, groups, shape[1] // groups, *shape[2:]])])
    moved = c.writer.node("Transpose", [apart], perm=[0, 2, 1, *range(3, len(shape) + 1)])
    return c.writer.node("Reshape", [moved, c.whole([0, *shape[1:]])])


MOVES: dict[str, Translation] = {
    "cat": _cat, "stack": _stack, "chunk": _chunk, "split": _split, "split_with_sizes": _split, "getitem": _getitem,
    "pad": _pad, "pixel_shuffle": _pixel_shuffle, "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle, "roll": _roll, "flip": _flip, "repeat": _repeat, "index_select": _index_select,
    "repeat_interleave": _repeat_interleave, "im2col": _im2col, "col2im": _col2im,
    "flatten": _flatten, "reshape": _reshape, "view_as": _reshape, "reshape_as": _reshape, "unflatten": _reshape,
    "squeeze": _squeeze, "unsqueeze": _unsqueeze, "transpose": _transpose, "permute": _permute, "t": _reversed,
    "movedim": _movedim, "mT": _matrix_transpose, "numpy_T": _reversed, "swapaxes": _transpose,
    "narrow": _narrow, "index": _index, "tile": _repeat, "select": _select, "unbind": _unbind, "slice": _slice,
    "expand": _expand, "expand_as": _expand,
}  # fmt: skip
