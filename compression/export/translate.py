"""ATen operators of the canonical graph, written as ONNX nodes: one small function each, one table."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import fx

from compression.errors import Unsupported
from compression.export.writer import Writer
from compression.graph import arguments, operator_name, pair

Shape = tuple[int, ...]


class Context:
    """What a translation needs to know of its node: names of its inputs and shapes (batch size 1)."""

    def __init__(self, writer: Writer, names: dict[fx.Node, Any], shapes: dict[str, Shape]):
        self.writer, self.names, self.shapes = writer, names, shapes

    def value(self, argument: Any) -> str:
        """The ONNX name of a node's value, or of a number stored as a constant."""
        if isinstance(argument, fx.Node):
            return self.names[argument]
        return self.writer.constant(np.array(argument, np.float32))

    def shape(self, node: fx.Node) -> Shape:
        """Shape of a node's value for one image."""
        return self.shapes[node.name]


def translate(context: Context, node: fx.Node) -> Any:
    """Writes the nodes for one ATen call; returns the name of its value. Raises `Unsupported` for unknown operators."""
    name = operator_name(node)
    if name not in TRANSLATIONS:
        raise Unsupported(f"The operator {name!r} of this network has no ONNX translation here yet.")
    return TRANSLATIONS[name](context, node, arguments(node) if name != "getitem" else {})


def _elementwise(operator: str) -> "Translation":
    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        if a.get("alpha", 1) != 1:
            raise Unsupported(f"{operator} with alpha = {a['alpha']} has no ONNX translation here yet.")
        other = a.get("other")
        return c.writer.node(operator, [c.value(a["self"]), *([c.value(other)] if other is not None else [])])

    return write


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
    if a["approximate"] != "none":
        raise Unsupported("GELU in its tanh approximation has no ONNX translation here yet.")
    x = c.value(a["self"])
    erf = c.writer.node("Erf", [c.writer.node("Mul", [x, c.value(0.5**0.5)])])
    return c.writer.node("Mul", [c.writer.node("Mul", [x, c.value(0.5)]), c.writer.node("Add", [erf, c.value(1.0)])])


def _softmax(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Softmax", [c.value(a["self"])], axis=a["dim"])


def _cat(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("Concat", [c.value(part) for part in a["tensors"]], axis=a["dim"])


def _chunk(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    axis = a["dim"]
    pieces = [reader for reader in node.users if operator_name(reader) == "getitem"]
    lengths = {int(piece.args[1]): c.shape(piece)[axis] for piece in pieces}  # type: ignore[arg-type]
    total, count = c.shape(a["self"])[axis], a["chunks"]
    size = -(-total // count)
    split = [lengths.get(i, min(size, total - i * size)) for i in range(-(-total // size))]
    return c.writer.node(
        "Split", [c.value(a["self"]), c.writer.constant(np.array(split, np.int64))], len(split), axis=axis
    )


def _getitem(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.names[node.args[0]][node.args[1]]  # type: ignore[index]


def _max_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    return c.writer.node("MaxPool", [c.value(a["self"])], **_window(a), dilations=pair(a["dilation"]))


def _avg_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    if a["divisor_override"] is not None:
        raise Unsupported("Average pooling with a divisor of its own has no ONNX translation here yet.")
    return c.writer.node(
        "AveragePool", [c.value(a["self"])], **_window(a), count_include_pad=int(a["count_include_pad"])
    )


def _adaptive_avg_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    (height, width), (rows, columns) = c.shape(a["self"])[2:], a["output_size"]
    if (rows, columns) == (1, 1):
        return c.writer.node("GlobalAveragePool", [c.value(a["self"])])
    if (rows, columns) == (height, width):
        return c.value(a["self"])
    if height % rows or width % columns:
        raise Unsupported(f"Adaptive pooling of {height}×{width} to {rows}×{columns} has no ONNX operator.")
    kernel = [height // rows, width // columns]
    return c.writer.node("AveragePool", [c.value(a["self"])], kernel_shape=kernel, strides=kernel)


def _mean(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(a["self"]))
    axes = c.writer.constant(np.array([d % rank for d in a["dim"]], np.int64))
    return c.writer.node("ReduceMean", [c.value(a["self"]), axes], keepdims=int(a["keepdim"]))


def _flatten(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(a["self"]))
    start, end = a["start_dim"] % rank, a["end_dim"] % rank
    if (start, end) == (1, rank - 1):
        return c.writer.node("Flatten", [c.value(a["self"])])
    lengths = [*[0] * start, -1, *c.shape(node)[start + 1 :]]
    return c.writer.node("Reshape", [c.value(a["self"]), c.writer.constant(np.array(lengths, np.int64))])


def _reshape(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """To the lengths of the value for one image; those that depend on the batch stay free (0 copies, -1 solves)."""
    asked, found = a["shape"], c.shape(node)
    counted = [i for i, length in enumerate(asked) if isinstance(length, fx.Node)]
    free = counted if len(counted) == 1 else [i for i, n in enumerate(asked) if i in counted or n == -1]
    lengths = [-1 if i in free else length for i, length in enumerate(found)]
    if len(free) > 1 and free[0] == 0:
        lengths = [0, *lengths[1:]]
        lengths = [
            found[i] if i in free[1:] and not isinstance(asked[i], fx.Node) else n for i, n in enumerate(lengths)
        ]
    return c.writer.node("Reshape", [c.value(a["self"]), c.writer.constant(np.array(lengths, np.int64))])


def _unflatten(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(c.shape(a["self"]))
    dim = a["dim"] % rank
    lengths = [*[0] * dim, *c.shape(node)[dim:]]
    return c.writer.node("Reshape", [c.value(a["self"]), c.writer.constant(np.array(lengths, np.int64))])


def _axis(operator: str) -> "Translation":
    """Squeeze and Unsqueeze of one axis."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        return c.writer.node(operator, [c.value(a["self"]), c.writer.constant(np.array([a["dim"]], np.int64))])

    return write


def _transpose(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    order = list(range(len(c.shape(a["self"]))))
    i, j = a["dim0"], a["dim1"]
    order[i], order[j] = order[j], order[i]
    return c.writer.node("Transpose", [c.value(a["self"])], perm=order)


def _permute(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    rank = len(a["dims"])
    return c.writer.node("Transpose", [c.value(a["self"])], perm=[d % rank for d in a["dims"]])


def _select(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    index = c.writer.constant(np.array(a["index"], np.int64))
    return c.writer.node("Gather", [c.value(a["self"]), index], axis=a["dim"])


def _unbind(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str]:
    places = [c.writer.constant(np.array(i, np.int64)) for i in range(c.shape(a["self"])[a["dim"]])]
    return [c.writer.node("Gather", [c.value(a["self"]), place], axis=a["dim"]) for place in places]


def _slice(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    start, end = a["start"] or 0, a["end"]
    bounds = [[start], [end if end is not None else 2**63 - 1], [a["dim"]], [a["step"]]]
    return c.writer.node("Slice", [c.value(a["self"]), *[c.writer.constant(np.array(b, np.int64)) for b in bounds]])


def _expand(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """A stored tensor repeated for each image of the batch (a class token): added to zeros of the batch's length."""
    image = next(n for n in node.graph.nodes if n.op == "placeholder")
    axes = c.writer.constant(np.array(list(range(1, len(c.shape(image)))), np.int64))
    zeros = c.writer.node("Mul", [c.writer.node("ReduceMax", [c.value(image), axes], keepdims=0), c.value(0.0)])
    rank = len(c.shape(node))
    column = c.writer.node("Reshape", [zeros, c.writer.constant(np.array([-1] + [1] * (rank - 1), np.int64))])
    return c.writer.node("Add", [c.value(a["self"]), column])


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


Translation = Callable[[Context, fx.Node, dict[str, Any]], Any]
TRANSLATIONS: dict[str, Translation] = {
    "add": _elementwise("Add"), "sub": _elementwise("Sub"), "mul": _elementwise("Mul"), "div": _elementwise("Div"),
    "matmul": _elementwise("MatMul"), "relu": _elementwise("Relu"), "sigmoid": _elementwise("Sigmoid"),
    "tanh": _elementwise("Tanh"), "hardswish": _elementwise("HardSwish"), "hardsigmoid": _hardsigmoid,
    "hardtanh": _hardtanh, "leaky_relu": _leaky_relu, "silu": _silu, "gelu": _gelu,
    "softmax": _softmax, "cat": _cat, "chunk": _chunk, "getitem": _getitem, "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d, "adaptive_avg_pool2d": _adaptive_avg_pool2d, "mean": _mean, "flatten": _flatten,
    "reshape": _reshape, "unflatten": _unflatten, "squeeze": _axis("Squeeze"), "unsqueeze": _axis("Unsqueeze"),
    "transpose": _transpose, "permute": _permute, "select": _select, "unbind": _unbind, "slice": _slice,
    "expand": _expand, "scaled_dot_product_attention": _attention,
}  # fmt: skip


def _window(a: dict[str, Any]) -> dict[str, Any]:
    kernel = pair(a["kernel_size"])
    return {
        "kernel_shape": kernel,
        "strides": pair(a["stride"]) if a["stride"] else kernel,
        "pads": pair(a["padding"]) * 2,
        "ceil_mode": int(a["ceil_mode"]),
    }
