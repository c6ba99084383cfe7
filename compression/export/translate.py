"""ATen operators of the canonical graph, written as ONNX nodes: one small function each, one table.

Those that treat each number by itself stand in `pointwise`, those that only move numbers in `moves`, pools in
`windows`, resizing in `resize`; here are the others, which mix numbers.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from compression.errors import Unsupported
from compression.export.context import TYPES, Context, Translation
from compression.export.moves import MOVES
from compression.export.pointwise import POINTWISE
from compression.export.resize import RESIZES
from compression.export.windows import WINDOWS, lengths
from compression.network.graph import arguments, is_size, operator_name


def translate(context: Context, node: fx.Node) -> Any:
    """Writes the nodes for one ATen call; returns the name of its value.

    Raises `Unsupported` for unknown operators, for types that a file does not compute with, and where images of a batch
    would be mixed.
    """
    name = operator_name(node)
    if name not in TRANSLATIONS:
        raise Unsupported(f"The operator {name!r} of this network has no ONNX translation here yet.")
    _check_value(context, node)
    return TRANSLATIONS[name](context, node, arguments(node) if name != "getitem" else {})


FREE = {"reshape", "expand", "repeat", "tile", "unflatten"}
"""Operators that may be given lengths that depend on how many images there are."""


def _check_value(c: Context, node: fx.Node) -> None:
    """Raises `Unsupported` where no file holds such a value as `node` gives, or none that fits one image."""
    if node.name in c.values and c.dtype(node) not in TYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPES)
        raise Unsupported(
            f"The operator {operator_name(node)!r} of this network gives numbers of the type "
            f"{str(c.dtype(node)).removeprefix('torch.')}; possible are {allowed}."
        )
    if operator_name(node) not in FREE and any(is_size(read) for read in node.all_input_nodes):
        raise c.refusal(node, "with a number that depends on how many images come at once")
    counted = [c.values[read.name].counted for read in node.all_input_nodes if read.name in c.values]
    if any(counted) and node.name in c.values and len(c.values[node.name].counted) != 1:
        raise Unsupported(f"The network computes {operator_name(node)!r} over all images of a batch.")


def _softmax(operator: str) -> Translation:
    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        c.axis(node, a["dim"])
        return c.writer.node(operator, [c.cast(a["self"], c.dtype(node))], axis=a["dim"])

    return write


def _cumsum(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("CumSum", [c.cast(a["self"], c.dtype(node)), c.whole(c.axis(node, a["dim"]))])


def _reduce(operator: str) -> Translation:
    """A mean, a sum or an extreme over some axes."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        axes, value = c.axes(node, a.get("dim")), c.cast(a["self"], c.dtype(node))
        return c.writer.node(operator, [value, c.whole(axes)], keepdims=int(a.get("keepdim", False)))

    return write


def _extreme(operator: str) -> Translation:
    """The largest or smallest value along one axis, and its place where that is read; or the larger of two values."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str | list[str | None]:
        if "other" in a:
            return POINTWISE[f"{operator.lower()}imum"](c, node, a)
        axes, keeps = c.axes(node, a.get("dim")), int(a.get("keepdim", False))
        value = c.writer.node(f"Reduce{operator}", [c.value(a["self"]), c.whole(axes)], keepdims=keeps)
        placed = any(reader.args[1] == 1 for reader in node.users)
        place = c.writer.node(f"Arg{operator}", [c.value(a["self"])], axis=axes[0], keepdims=keeps) if placed else None
        return [value, place]

    return write


def _place(operator: str) -> Translation:
    """Where the largest or smallest value along one axis stands, the first of equals."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        axes = c.axes(node, a["dim"])
        return c.writer.node(operator, [c.value(a["self"])], axis=axes[0], keepdims=int(a["keepdim"]))

    return write


def _variance(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Of numbers along some axes, or its root; n - correction of them count (`unbiased` is a correction of 1)."""
    w, value, axes = c.writer, c.value(a["self"]), c.axes(node, a.get("dim"))
    count = math.prod(c.shape(a["self"])[axis] for axis in axes)
    correction = a["correction"] if "correction" in a else int(a["unbiased"])
    away = w.node("Sub", [value, w.node("ReduceMean", [value, c.whole(axes)], keepdims=1)])
    total = w.node("ReduceSumSquare", [away, c.whole(axes)], keepdims=int(a.get("keepdim", False)))
    counted = max(float(count - (1 if correction is None else correction)), 0.0)
    found = w.node("Div", [total, c.value(counted)])
    return w.node("Sqrt", [found]) if operator_name(node) == "std" else found


def _vector_norm(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """(Σ |x|ᵖ)^(1/p); at its limits the largest or smallest |x|, or how many are not 0."""
    w, order, value, axes = c.writer, float(a["ord"]), c.cast(a["self"], c.dtype(node)), c.whole(c.axes(node, a["dim"]))
    keeps = int(a["keepdim"])
    if order in (1, 2):
        return w.node(f"ReduceL{order:g}", [value, axes], keepdims=keeps)
    size = w.node("Abs", [value])
    if math.isinf(order):
        return w.node("ReduceMax" if order > 0 else "ReduceMin", [size, axes], keepdims=keeps)
    if order == 0:
        return w.node("ReduceSum", [w.node("Sign", [size]), axes], keepdims=keeps)
    total = w.node("ReduceSum", [w.node("Pow", [size, c.value(order)]), axes], keepdims=keeps)
    return w.node("Pow", [total, c.value(1 / order)])


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
        raise c.refusal(node, "with running statistics")
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
        rank = len(c.shape(node)) - 2
        each = {key: lengths(a[key], rank) for key in ("stride", "dilation")}
        attributes: dict[str, Any] = {"strides": each["stride"], "dilations": each["dilation"], "group": a["groups"]}
        if a["padding"] == "same":
            around = [d * (k - 1) for d, k in zip(each["dilation"], c.shape(a["weight"])[2:], strict=True)]
            attributes["pads"] = [n // 2 for n in around] + [n - n // 2 for n in around]
        elif a["padding"] != "valid":
            attributes["pads"] = lengths(a["padding"], rank) * 2
        if "output_padding" in a:
            attributes["output_padding"] = lengths(a["output_padding"], rank)
        reads = [a["input"], a["weight"], *([a["bias"]] if a["bias"] is not None else [])]
        return c.writer.node(operator, [c.value(read) for read in reads], **attributes)

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
    """softmax(q·kᵀ/√d + mask)·v (Vaswani et al. 2017, eq. 1); where nothing may be looked at, it answers 0."""
    if a["dropout_p"]:
        raise c.refusal(node, "with dropout")
    if a["enable_gqa"]:
        raise c.refusal(node, "with fewer keys than queries")
    w, rank = c.writer, len(c.shape(a["key"]))
    order = [*range(rank - 2), rank - 1, rank - 2]
    scale = c.shape(a["query"])[-1] ** -0.5 if a["scale"] is None else a["scale"]
    keys = w.node("Transpose", [c.value(a["key"])], perm=order)
    logits = w.node("MatMul", [w.node("Mul", [c.value(a["query"]), c.value(scale)]), keys])
    mask, seen = a["attn_mask"], ""
    if a["is_causal"]:
        seen = w.constant(np.tri(c.shape(a["query"])[-2], c.shape(a["key"])[-2], dtype=np.bool_))
    elif mask is not None and c.dtype(mask) == torch.bool:
        seen = c.value(mask)
    elif mask is not None:
        logits = w.node("Add", [logits, c.value(mask)])
    if seen:
        logits = w.node("Where", [seen, logits, c.value(-math.inf)])
    shares = w.node("Softmax", [logits], axis=-1)
    if seen:
        shares = w.node("Where", [seen, shares, c.value(0.0)])
    return w.node("MatMul", [shares, c.value(a["value"])])


TRANSLATIONS: dict[str, Translation] = POINTWISE | MOVES | WINDOWS | RESIZES | {
    "softmax": _softmax("Softmax"), "log_softmax": _softmax("LogSoftmax"), "cumsum": _cumsum, "rms_norm": _rms_norm,
    "mean": _reduce("ReduceMean"), "sum": _reduce("ReduceSum"), "prod": _reduce("ReduceProd"),
    "amax": _reduce("ReduceMax"), "amin": _reduce("ReduceMin"), "logsumexp": _reduce("ReduceLogSumExp"),
    "max": _extreme("Max"), "min": _extreme("Min"), "argmax": _place("ArgMax"), "argmin": _place("ArgMin"),
    "var": _variance, "std": _variance, "linalg_vector_norm": _vector_norm, "group_norm": _group_norm,
    "instance_norm": _instance_norm, "conv1d": _convolution("Conv"), "conv2d": _convolution("Conv"),
    "conv3d": _convolution("Conv"),
    "conv_transpose2d": _convolution("ConvTranspose"), "einsum": _einsum, "addmm": _product, "baddbmm": _product,
    "scaled_dot_product_attention": _attention,
}  # fmt: skip
