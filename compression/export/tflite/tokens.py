"""What transformers are made of: norms, attention and products of computed values, written as TFLite's kernels.

Norms and attention are computed in floats between two roundings, as in the ONNX file: sums of squares and softmax have
no kernel in integers that comes near it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite.translator import Translator, moved, stored_in, values_of
from compression.network.graph import arguments

LOWEST = -1e9
"""Stands for what may not be looked at: its share after softmax is 0."""


def into(t: Translator, given: int, plain: int, name: str) -> int:
    """A value whose axes are as PyTorch has them, as it lies in the file, in the codes of `given`."""
    return t.fill(given, t.in_file(plain, f"{name} moved"))


def layer_norm(t: Translator, node: fx.Node, norm: nn.LayerNorm, given: int) -> int:
    """(x - mean) / √(variance + ε) · γ + β over the last axes (Ba et al. 2016, eq. 3)."""
    shape, name = tuple(norm.normalized_shape), node.name
    source = t.plain(t.source(node))
    rank = len(t.file.shapes[source])
    even = _even(t, source, list(range(rank - len(shape), rank)), norm.eps, name)
    length = int(np.prod(shape))
    gain, shift = (values_of(norm, each, length).reshape(shape) for each in ("weight", "bias"))
    made = _two(t, "ADD", _two(t, "MUL", even, t.file.floats(gain, f"{name}.weight"), name),
                t.file.floats(shift, f"{name}.bias"), name)  # fmt: skip
    return into(t, given, made, name)


def group_norm(t: Translator, node: fx.Node, norm: nn.GroupNorm, given: int) -> int:
    """The same over each group of channels and all places (Wu & He 2018)."""
    source, name = t.plain(t.source(node)), node.name
    shape = t.file.shapes[source]
    rows = t.reshaped(source, (shape[0], norm.num_groups, int(np.prod(shape[1:])) // norm.num_groups), f"{name} rows")
    even = t.reshaped(_even(t, rows, [2], norm.eps, name), shape, f"{name} even")
    wide = (shape[1], *[1] * (len(shape) - 2))
    gain, shift = (values_of(norm, each, shape[1]).reshape(wide) for each in ("weight", "bias"))
    made = _two(t, "ADD", _two(t, "MUL", even, t.file.floats(gain, f"{name}.weight"), name),
                t.file.floats(shift, f"{name}.bias"), name)  # fmt: skip
    return into(t, given, made, name)


def _even(t: Translator, source: int, axes: list[int], eps: float, name: str) -> int:
    """With a mean of 0 and a variance of 1 along `axes`; floats."""
    centred = _two(t, "SUB", source, _mean(t, source, axes, name), name)
    variance = _mean(t, _two(t, "MUL", centred, centred, name), axes, name)
    steadied = _two(t, "ADD", variance, t.file.floats(np.array([eps]), f"{name} eps"), name)
    root = t.file.value(t.file.shapes[steadied], None, f"{name} root")
    return _two(t, "MUL", centred, t.file.operator("RSQRT", [steadied], [root]), name)


def _mean(t: Translator, source: int, axes: list[int], name: str) -> int:
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(t.file.shapes[source]))
    made = t.file.value(shape, None, f"{name} mean")
    places = t.file.whole(axes, f"{name} axes")
    return t.file.operator("MEAN", [source, places], [made], "ReducerOptions", keepDims=True)


OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions",
           "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions"}  # fmt: skip


def _two(t: Translator, kernel: str, first: int, second: int, name: str) -> int:
    """An operator of two floats, the smaller of which counts for all of the larger."""
    shape = np.broadcast_shapes(t.file.shapes[first], t.file.shapes[second])
    made = t.file.value(tuple(map(int, shape)), None, f"{name} {kernel.lower()}")
    return t.file.operator(kernel, [first, second], [made], OPTIONS[kernel])


def _product(t: Translator, first: int, second: int, name: str, *, turned: bool = False) -> int:
    """first · second of matrices in the last two axes, the second one `turned`; floats."""
    left, right = t.file.shapes[first], t.file.shapes[second]
    many = tuple(map(int, np.broadcast_shapes(left[:-2], right[:-2])))
    made = t.file.value((*many, left[-2], right[-2 if turned else -1]), None, f"{name} product")
    return t.file.operator("BATCH_MATMUL", [first, second], [made], "BatchMatMulOptions", adjY=turned)


def attention(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """softmax(q · kᵀ / √d + mask) · v (Vaswani et al. 2017, eq. 1)."""
    a, name = arguments(node), node.name
    if a["dropout_p"] or a["enable_gqa"]:
        raise Unsupported(f"A .tflite file takes attention with a key for each query, without dropout; not {name!r}.")
    query, key, value = (t.plain(t.read(a[each])) for each in ("query", "key", "value"))
    length = t.file.shapes[query][-1]
    scale = t.file.floats(np.array([length**-0.5 if a["scale"] is None else a["scale"]]), f"{name} scale")
    logits = _product(t, _two(t, "MUL", query, scale, name), key, name, turned=True)
    mask = _mask(t, node, t.file.shapes[logits])
    logits = logits if mask is None else _two(t, "ADD", logits, mask, name)
    shares = t.file.value(t.file.shapes[logits], None, f"{name} shares")
    t.file.operator("SOFTMAX", [logits], [shares], "SoftmaxOptions", beta=1.0)
    return into(t, given, _product(t, shares, value, name), name)


def _mask(t: Translator, node: fx.Node, shape: tuple[int, ...]) -> int | None:
    """What is added to the logits; None without one."""
    a = arguments(node)
    if a["is_causal"]:
        return t.file.floats(np.where(np.tri(shape[-2], shape[-1]) > 0, 0.0, LOWEST), f"{node.name} seen")
    mask = a["attn_mask"]
    if not isinstance(mask, fx.Node):
        return None
    if mask in t.tensors:
        return t.plain(t.tensors[mask])
    if mask.op != "get_attr":
        raise Unsupported(f"A .tflite file takes attention with a stored mask; that of {node.name!r} is computed.")
    stored = stored_in(t.graph, mask)
    values = np.where(stored.numpy(), 0.0, LOWEST) if stored.dtype == torch.bool else stored.numpy()
    return t.file.floats(values, f"{node.name} mask")


def product(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """A product of computed matrices."""
    a = arguments(node)
    first, second = (t.plain(t.read(a[each], 2)) for each in ("self", "mat2" if "mat2" in a else "other"))
    return into(t, given, _product(t, first, second, node.name), node.name)


PLAIN = {
    "div": "DIV", "exp": "EXP", "log": "LOG", "sqrt": "SQRT", "rsqrt": "RSQRT", "abs": "ABS", "neg": "NEG",
    "square": "SQUARE", "maximum": "MAXIMUM", "minimum": "MINIMUM", "sin": "SIN", "cos": "COS",
}  # fmt: skip
"""Operators of each value that TFLite has too, with its names."""
IN_FLOATS = {"scaled_dot_product_attention", "matmul", "bmm", *PLAIN}
"""Operators that are computed in floats, as norms are."""


def plainly(kernel: str) -> Callable[..., int]:
    """An operator of one or two values."""

    def write(t: Translator, node: fx.Node, given: int, activation: int) -> int:
        a, rank = arguments(node), len(t.shapes[node.name])
        terms = [t.read(a[each], rank) for each in ("self", "other") if each in a]
        if a.get("rounding_mode"):
            raise Unsupported(f"A .tflite file takes {node.name!r} without rounding.")
        return t.file.operator(kernel, terms, [given], OPTIONS.get(kernel, ""))

    return write


def linear(t: Translator, node: fx.Node, inputs: list[int], given: int, activation: int) -> int:
    """A linear layer of the last axis of any value: `inputs` are what it reads, its weights and its biases."""
    rank = len(t.shapes[node.name])
    plain = given if rank < 4 else t.like(given, t.shapes[node.name], f"{node.name} rows")
    t.file.operator("FULLY_CONNECTED", [t.plain(inputs[0]), *inputs[1:]], [plain], "FullyConnectedOptions",
                    fusedActivationFunction=activation, keepNumDims=rank > 2)  # fmt: skip
    if plain == given:
        return given
    order = t.file.whole(moved(rank), f"{node.name} order")
    return t.file.operator("TRANSPOSE", [plain, order], [given], "TransposeOptions")
