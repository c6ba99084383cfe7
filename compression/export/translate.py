"""ATen operators of the canonical graph, written as ONNX nodes: one small function each, one table.

Those that treat each number by itself stand in `pointwise`, those that only move numbers in `moves`; here are those
that mix them.
"""

import math
from typing import Any

import numpy as np
from torch import fx

from compression.errors import Unsupported
from compression.export.context import Context, Translation
from compression.export.moves import MOVES
from compression.export.pointwise import POINTWISE
from compression.graph import arguments, operator_name


def translate(context: Context, node: fx.Node) -> Any:
    """Writes the nodes for one ATen call; returns the name of its value. Raises `Unsupported` for unknown operators."""
    name = operator_name(node)
    if name not in TRANSLATIONS:
        raise Unsupported(f"The operator {name!r} of this network has no ONNX translation here yet.")
    return TRANSLATIONS[name](context, node, arguments(node) if name != "getitem" else {})


def _softmax(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Softmax", [c.value(a["self"])], axis=a["dim"])


def _log_softmax(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("LogSoftmax", [c.value(a["self"])], axis=a["dim"])


def _max_pool(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(node)) - 2
    return c.writer.node("MaxPool", [c.value(a["self"])], **_window(a, rank), dilations=_lengths(a["dilation"], rank))


def _avg_pool(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a.get("divisor_override") is not None:
        raise Unsupported("Average pooling with a divisor of its own has no ONNX translation here yet.")
    window = _window(a, len(c.shape(node)) - 2)
    counts = a["count_include_pad"] and any(window["pads"])  # with none, ONNX Runtime's integers count what lies beyond
    return c.writer.node("AveragePool", [c.value(a["self"])], **window, count_include_pad=int(counts))


def _adaptive_avg_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    (height, width), (rows, columns) = c.shape(a["self"])[2:], c.shape(node)[2:]
    if (rows, columns) == (1, 1):
        return c.writer.node("GlobalAveragePool", [c.value(a["self"])])
    if (rows, columns) == (height, width):
        return c.value(a["self"])
    if height % rows or width % columns:  # no operator has windows of different sizes
        over = c.writer.node("MatMul", [c.writer.constant(_windows(height, rows)), c.value(a["self"])])
        return c.writer.node("MatMul", [over, c.writer.constant(_windows(width, columns).T)])
    kernel = [height // rows, width // columns]
    return c.writer.node("AveragePool", [c.value(a["self"])], kernel_shape=kernel, strides=kernel)


def _windows(length: int, count: int) -> np.ndarray:
    """The mean of each of `count` windows that cover `length` places as PyTorch lays them: [count, length]."""
    begin = np.arange(count) * length // count
    end = -(-(np.arange(count) + 1) * length // count)
    places = np.arange(length)
    inside = (places >= begin[:, None]) & (places < end[:, None])
    return (inside / (end - begin)[:, None]).astype(np.float32)


def _adaptive_avg_pool1d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    before, after = c.shape(a["self"])[-1], c.shape(node)[-1]
    return c.writer.node("MatMul", [c.value(a["self"]), c.writer.constant(_windows(before, after).T)])


def _adaptive_max_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    (height, width), (rows, columns) = c.shape(a["self"])[2:], a["output_size"]
    if (rows, columns) == (1, 1):
        return [c.writer.node("GlobalMaxPool", [c.value(a["self"])])]
    if height % rows or width % columns:
        raise Unsupported(f"Adaptive pooling of {height}×{width} to {rows}×{columns} has no ONNX operator.")
    kernel = [height // rows, width // columns]
    return [c.writer.node("MaxPool", [c.value(a["self"])], kernel_shape=kernel, strides=kernel)]


def _reduce(operator: str) -> Translation:
    """A mean, a sum or an extreme over some axes."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        axes = c.axes(node, a.get("dim"))
        return c.writer.node(operator, [c.value(a["self"]), c.whole(axes)], keepdims=int(a.get("keepdim", False)))

    return write


def _extreme(operator: str) -> Translation:
    """The largest or smallest value along one axis, without its place; or the larger of two values."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str | list[str]:
        if "other" in a:
            return c.writer.node(operator, [c.value(a["self"]), c.value(a["other"])])
        return [_reduce(f"Reduce{operator}")(c, node, a)]

    return write


def _variance(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Of numbers along some axes, or its root; n - correction of them count (`unbiased` is a correction of 1)."""
    w, value, axes = c.writer, c.value(a["self"]), c.axes(node, a.get("dim"))
    count = math.prod(c.shape(a["self"])[axis] for axis in axes)
    correction = a["correction"] if "correction" in a else int(a["unbiased"])
    away = w.node("Sub", [value, w.node("ReduceMean", [value, c.whole(axes)], keepdims=1)])
    total = w.node("ReduceSumSquare", [away, c.whole(axes)], keepdims=int(a["keepdim"]))
    found = w.node("Div", [total, c.value(float(count - (1 if correction is None else correction)))])
    return w.node("Sqrt", [found]) if operator_name(node) == "std" else found


def _vector_norm(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a["ord"] not in (1, 2):
        raise Unsupported(f"The norm of order {a['ord']} has no ONNX translation here yet.")
    return _reduce(f"ReduceL{a['ord']:g}")(c, node, a)


def even_groups(c: Context, value: str, shape: tuple[int, ...], count: int, eps: float) -> str:
    """`count` groups of channels of a value [n, *shape[1:]], each normalised like one channel (Wu & He 2018)."""
    w = c.writer
    groups = w.node("Reshape", [value, c.whole([0, count, -1])])
    ones, zeros = (w.constant(np.full(count, value, np.float32)) for value in (1, 0))
    even = w.node("InstanceNormalization", [groups, ones, zeros], epsilon=eps)
    return w.node("Reshape", [even, c.whole([0, *shape[1:]])])


def _group_norm(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """With computed weights: one with stored weights is a module."""
    shape = c.shape(node)
    value = even_groups(c, c.value(a["input"]), shape, a["num_groups"], a["eps"])
    for operator, tensor in (("Mul", a["weight"]), ("Add", a["bias"])):
        if tensor is not None:
            value = c.writer.node(operator, [value, _by_channel(c, tensor, len(shape))])
    return value


def _rms_norm(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Zhang & Sennrich 2019, eq. 4."""
    w, x, rank = c.writer, c.value(a["input"]), len(c.shape(node))
    eps = a["eps"] if a["eps"] is not None else float(np.finfo(np.float32).eps)
    axes = c.whole(list(range(rank - len(a["normalized_shape"]), rank)))
    power = w.node("ReduceMean", [w.node("Mul", [x, x]), axes], keepdims=1)
    even = w.node("Div", [x, w.node("Sqrt", [w.node("Add", [power, c.value(eps)])])])
    return w.node("Mul", [even, c.value(a["weight"])]) if a["weight"] is not None else even


def _instance_norm(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if not a["use_input_stats"]:
        raise Unsupported("An instance norm with running statistics has no ONNX translation here yet.")
    channels = c.shape(node)[1]
    gain, shift = (
        c.value(tensor) if tensor is not None else c.writer.constant(np.full(channels, value, np.float32))
        for tensor, value in ((a["weight"], 1), (a["bias"], 0))
    )
    return c.writer.node("InstanceNormalization", [c.value(a["input"]), gain, shift], epsilon=a["eps"])


def _by_channel(c: Context, tensor: fx.Node, rank: int) -> str:
    """A stored tensor [channels] in the shape that goes with values of `rank` dimensions."""
    return c.writer.node("Reshape", [c.value(tensor), c.whole([-1] + [1] * (rank - 2))])


def _convolution(operator: str) -> Translation:
    """One whose weights are not compressed: over rows of numbers, transposed, or with weights that are computed."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        if isinstance(a["padding"], str) and a["padding"] != "valid":
            raise Unsupported(f"{operator} with padding {a['padding']!r} has no ONNX translation here yet.")
        rank = len(c.shape(node)) - 2
        each = {key: _lengths(a[key], rank) for key in ("stride", "dilation")}
        attributes: dict[str, Any] = {"strides": each["stride"], "dilations": each["dilation"], "group": a["groups"]}
        if not isinstance(a["padding"], str):
            attributes["pads"] = _lengths(a["padding"], rank) * 2
        if "output_padding" in a:
            attributes["output_padding"] = _lengths(a["output_padding"], rank)
        reads = [a["input"], a["weight"], *([a["bias"]] if a["bias"] is not None else [])]
        return c.writer.node(operator, [c.value(read) for read in reads], **attributes)

    return write


def _lengths(value: Any, rank: int) -> list[int]:
    """One number for each spatial dimension."""
    return [value] * rank if isinstance(value, int) else list(value) * (rank // len(value))


RESIZE: dict[str, dict[str, Any]] = {
    "nearest": {"nearest_mode": "floor"}, "linear": {}, "cubic": {"cubic_coeff_a": -0.75},
}  # fmt: skip
"""What PyTorch means by each mode, where ONNX has more than one meaning."""


def _upsample(mode: str) -> Translation:
    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        places = "asymmetric" if mode == "nearest" else "align_corners" if a["align_corners"] else "half_pixel"
        size = c.whole(c.shape(node)[2:])
        return c.writer.node(
            "Resize", [c.value(a["input"]), "", "", size], mode=mode, coordinate_transformation_mode=places,
            axes=[2, 3], **RESIZE[mode],
        )  # fmt: skip

    return write


def _einsum(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Einsum", [c.value(part) for part in a["tensors"]], equation=a["equation"].replace(" ", ""))


def _product(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """beta · self + alpha · first · second."""
    first, second = (a["mat1"], a["mat2"]) if "mat1" in a else (a["batch1"], a["batch2"])
    value, added = c.writer.node("MatMul", [c.value(first), c.value(second)]), c.value(a["self"])
    if a["alpha"] != 1:
        value = c.writer.node("Mul", [value, c.value(a["alpha"])])
    if a["beta"] != 1:
        added = c.writer.node("Mul", [added, c.value(a["beta"])])
    return c.writer.node("Add", [value, added])


def _attention(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """softmax(q·kᵀ/√d)·v (Vaswani et al. 2017, eq. 1)."""
    if a["attn_mask"] is not None or a["is_causal"]:
        raise Unsupported("Attention with a mask has no ONNX translation here yet.")
    w, rank = c.writer, len(c.shape(a["key"]))
    order = [*range(rank - 2), rank - 1, rank - 2]
    scale = a["scale"] or c.shape(a["query"])[-1] ** -0.5
    keys = w.node("Transpose", [c.value(a["key"])], perm=order)
    logits = w.node("MatMul", [w.node("Mul", [c.value(a["query"]), c.value(scale)]), keys])
    return w.node("MatMul", [w.node("Softmax", [logits], axis=-1), c.value(a["value"])])


TRANSLATIONS: dict[str, Translation] = POINTWISE | MOVES | {
    "softmax": _softmax, "log_softmax": _log_softmax, "max_pool1d": _max_pool, "max_pool2d": _max_pool,
    "avg_pool1d": _avg_pool, "avg_pool2d": _avg_pool, "avg_pool3d": _avg_pool, "rms_norm": _rms_norm,
    "adaptive_avg_pool1d": _adaptive_avg_pool1d, "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_max_pool2d": _adaptive_max_pool2d, "mean": _reduce("ReduceMean"), "sum": _reduce("ReduceSum"),
    "amax": _reduce("ReduceMax"), "amin": _reduce("ReduceMin"), "max": _extreme("Max"), "min": _extreme("Min"),
    "linalg_vector_norm": _vector_norm, "group_norm": _group_norm, "instance_norm": _instance_norm,
    "conv1d": _convolution("Conv"), "conv2d": _convolution("Conv"), "conv_transpose2d": _convolution("ConvTranspose"),
    "upsample_nearest2d": _upsample("nearest"), "upsample_bilinear2d": _upsample("linear"), "einsum": _einsum,
    "addmm": _product, "baddbmm": _product, "var": _variance, "std": _variance, "prod": _reduce("ReduceProd"),
    "logsumexp": _reduce("ReduceLogSumExp"), "upsample_bicubic2d": _upsample("cubic"),
    "scaled_dot_product_attention": _attention,
}  # fmt: skip


def _window(a: dict[str, Any], rank: int) -> dict[str, Any]:
    kernel = _lengths(a["kernel_size"], rank)
    return {
        "kernel_shape": kernel,
        "strides": _lengths(a["stride"], rank) if a["stride"] else kernel,
        "pads": _lengths(a["padding"], rank) * 2,
        "ceil_mode": int(a["ceil_mode"]),
    }
