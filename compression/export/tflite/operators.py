"""Layers, pools and operators that move values, written as those of TFLite on maps [n, H, W, C]."""

from collections.abc import Callable

import numpy as np
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite import moves, pointwise, tokens
from compression.export.tflite.file import Grid
from compression.export.tflite.translator import Translator, moved, moved_shape
from compression.network.graph import arguments, folded_norm, operator_name, padding_of, pair
from compression.network.quantized_values import PASS
from compression.network.storage import stored
from compression.network.stored_layer import StoredLayer

SAME, VALID = 0, 1
POINTWISE = {"padding": VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
LOWEST = Grid(float(np.finfo(np.float32).max) / 128, 0)
"""Its code -128 is less than every float32."""


def layer(t: Translator, node: fx.Node, module: nn.Conv2d | nn.Linear, given: int, activation: int) -> int:
    """A convolution or linear layer, with its batch norm and clip."""
    source, name = t.tensors[node.args[0]], str(node.target)  # type: ignore[index]
    if isinstance(module, nn.Linear) and t.file.grids[source] is not None and _is_row(t, node):
        return _pixel(t, node, module, given, activation)
    filters = _floats(t, module, node, name) if t.file.grids[source] is None else _codes(t, module, node, name)
    if isinstance(module, nn.Linear):
        return tokens.linear(t, node, [source, *filters((0, 1), 0)], given, activation)
    return _convolution(t, module, source, given, filters, activation, name)


Filters = Callable[[tuple[int, ...], int], tuple[int, int]]
"""Gives the tensors of weights, with their axes in that order and a scale for each index along one, and of biases."""


def _floats(t: Translator, module: nn.Module, node: fx.Node, name: str) -> Filters:
    kept = stored(module, folded_norm(t.graph, node)).plain()  # type: ignore[arg-type]
    values = kept.values.astype(np.float32)
    values = values if kept.scale is None else values * kept.scale.reshape(-1, *[1] * (values.ndim - 1))
    bias = t.file.floats(kept.bias, f"{name}.bias")
    return lambda axes, _: (t.file.floats(values.transpose(axes), f"{name}.weight"), bias)


def _is_row(t: Translator, node: fx.Node) -> bool:
    """Whether a linear layer gives a row for each image, in a file whose weights have 8 bits."""
    return len(t.shapes[node.name]) == 2 and not t.halves


def _pixel(t: Translator, node: fx.Node, module: nn.Linear, given: int, activation: int) -> int:
    """A linear layer of rows as a convolution of maps of one pixel; in int16 where `given` is.

    In older TensorFlow Lite Micro, as in its library for Arduino, the kernel FULLY_CONNECTED has one scale for all
    outputs; that of convolutions has one for each.
    """
    name, source = str(node.target), t.plain(t.source(node))
    wide = given in t.file.wide
    filters = _codes(t, module, node, name, np.int64 if wide else np.int32)
    rows, n = t.file.shapes[source]
    source = t.reshaped(t.in_16_bits(source) if wide else source, (rows, 1, 1, n), f"{name} pixel")
    made = t.like(given, (rows, 1, 1, t.file.shapes[given][1]), f"{name} map")
    t.file.operator("CONV_2D", [source, *filters((0, 2, 3, 1), 0)], [made], "Conv2DOptions", **POINTWISE,
                    fusedActivationFunction=activation)  # fmt: skip
    lengths = t.file.whole([-1, t.file.shapes[given][1]], f"{name} lengths")
    return t.file.operator("RESHAPE", [made, lengths], [given], "ReshapeOptions",
                           newShape=[-1, t.file.shapes[given][1]])  # fmt: skip


def _codes(t: Translator, module: nn.Module, node: fx.Node, name: str, biases: type = np.int32) -> Filters:
    """What gives the layer's codes; those of a linear layer have two axes more where a convolution asks for four."""
    grid = t.file.grids[t.source(node)]
    assert grid is not None
    kept = stored(module, folded_norm(t.graph, node))  # type: ignore[arg-type]
    if kept.scale is None or kept.needs_zero_points:
        raise Unsupported(f"A .tflite file takes 8-bit symmetric weights; those of {name!r} are not.")
    kept = kept.with_bias_in_32_bits(np.float32(grid.scale))  # type: ignore[arg-type]
    codes, scale, bits = _in_bits(kept, t.halves)
    steps = scale * np.float32(grid.scale)
    bias = t.file.weights(np.round(kept.bias / steps).astype(biases), steps, 0, f"{name}.bias")
    return lambda axes, axis: (
        t.file.weights(codes.reshape(*codes.shape, *[1] * (len(axes) - codes.ndim)).transpose(axes), scale, axis,
                       f"{name}.weight", bits=bits), bias
    )  # fmt: skip


def _in_bits(kept: StoredLayer, halves: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Codes, scales and bits: those of at most 4 bits as they are with `halves`, others as 8-bit kernels take them."""
    assert kept.scale is not None
    plain = kept.plain()
    assert plain.scale is not None
    codes = plain.values // kept.gain
    if halves and kept.bits <= 4 and kept.multipliers is None and codes.min() >= -8 and codes.max() <= 7:
        return codes.astype(np.int8), plain.scale.astype(np.float32) * np.float32(kept.gain), 4
    return plain.values, plain.scale.astype(np.float32), 8


def _convolution(
    t: Translator, module: nn.Conv2d, source: int, given: int, filters: Filters, activation: int, name: str
) -> int:
    left, right, above, below = padding_of(module)
    window = [(above, below), (left, right)]
    source, padding = _padded(t, source, window, (module.kernel_size, module.stride, module.dilation), name)
    options = {"padding": padding, "strideH": module.stride[0], "strideW": module.stride[1],
               "dilationHFactor": module.dilation[0], "dilationWFactor": module.dilation[1],
               "fusedActivationFunction": activation}  # fmt: skip
    if module.groups == module.in_channels and module.groups > 1:
        weights, bias = filters((1, 2, 3, 0), 3)
        multiplier = module.out_channels // module.in_channels
        return t.file.operator("DEPTHWISE_CONV_2D", [source, weights, bias], [given], "DepthwiseConv2DOptions",
                               depthMultiplier=multiplier, **options)  # fmt: skip
    weights, bias = filters((0, 2, 3, 1), 0)
    return t.file.operator("CONV_2D", [source, weights, bias], [given], "Conv2DOptions", **options)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TFLite's SAME sets beside a side."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _padded(
    t: Translator, source: int, pads: list[tuple[int, int]],
    window: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None, name: str, *, least: bool = False,
) -> tuple[int, int]:  # fmt: skip
    """The value to slide over, and TFLite's name for what it sets beside it.

    Beside it lie zeros, or with `least` the lowest code. `window`: kernel, stride and dilation, where the kernel can
    set SAME beside it by itself.
    """
    shape, grid = t.file.shapes[source], t.file.grids[source]
    if not any(map(any, pads)):
        return source, VALID
    if window and pads == [_same(*each) for each in zip(shape[1:3], *window, strict=True)]:
        return source, SAME
    wide = (shape[0], *(n + sum(p) for n, p in zip(shape[1:3], pads, strict=True)), shape[3])
    amounts, made = t.file.whole([(0, 0), *pads, (0, 0)], f"{name} padding"), t.like(source, wide, f"{name} padded")
    if not least or (grid and grid.zero_point == -128):
        return t.file.operator("PAD", [source, amounts], [made], "PadOptions"), VALID
    lowest = t.constant(-128, grid or LOWEST, source, f"{name} lowest")
    return t.file.operator("PADV2", [source, amounts, lowest], [made], "PadV2Options"), VALID


def _mean(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The mean of each whole map."""
    a, source = arguments(node), t.source(node)
    if "output_size" in a and pair(a["output_size"]) != (1, 1):
        return _evenly(t, node, given)
    return _over_axes(t, node, source, "MEAN", given)


def _over_axes(t: Translator, node: fx.Node, source: int, kernel: str, given: int) -> int:
    """One number in place of all along some axes, or of whole maps."""
    a, rank, after = arguments(node), len(t.file.shapes[source]), len(t.file.shapes[given])
    asked = [-2, -1] if "output_size" in a else list(a["dim"] or range(rank))
    if after not in (rank, 2) and max(rank, after) >= 4:
        raise Unsupported(f"A .tflite file takes {operator_name(node)} into rows, or with all axes; not {node.name!r}.")
    places = t.file.whole(sorted(moved(rank).index(axis % rank) for axis in asked), f"{node.name} axes")
    return t.file.operator(kernel, [source, places], [given], "ReducerOptions", keepDims=after == rank)


def _largest(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The largest along some axes: the kernel answers in the codes that it reads."""
    source = t.source(node)
    made = t.like(source, t.file.shapes[given], f"{node.name} largest")
    return t.fill(given, _over_axes(t, node, source, "REDUCE_MAX", made))


def _evenly(t: Translator, node: fx.Node, given: int) -> int:
    """Averages of windows that divide the map."""
    sizes = t.file.shapes[t.source(node)][1:3]
    wanted = t.file.shapes[given][1:3]
    if any(n % m for n, m in zip(sizes, wanted, strict=True)):
        raise Unsupported(
            f"A .tflite file takes averages of windows that divide the map; {node.name!r} is another one."
        )
    window = sizes[0] // wanted[0], sizes[1] // wanted[1]
    return _averages(t, node, t.source(node), given, window, window)


def _average_pool(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    a = arguments(node)
    kernel, pads = pair(a["kernel_size"]), pair(a["padding"])
    strides = pair(a["stride"]) if a["stride"] else kernel
    if a["ceil_mode"] or a["divisor_override"] or (pads != (0, 0) and not a["count_include_pad"]):
        raise Unsupported(f"A .tflite file has no form for the windows of {node.name}.")
    source, _ = _padded(t, t.source(node), [(p, p) for p in pads], None, node.name)
    return _averages(t, node, source, given, kernel, strides)


def _averages(
    t: Translator, node: fx.Node, source: int, given: int, kernel: tuple[int, int], strides: tuple[int, int]
) -> int:
    """The kernel answers on the grid of what it reads."""
    same = t.file.grids[source] == t.file.grids[given]
    inner = given if same else t.like(source, t.file.shapes[given], f"{node.name} averages")
    t.file.operator(
        "AVERAGE_POOL_2D", [source], [inner], "Pool2DOptions", padding=VALID, strideH=strides[0], strideW=strides[1],
        filterHeight=kernel[0], filterWidth=kernel[1],
    )  # fmt: skip
    return given if same else t.rounded(inner, given)


def _max_pool(t: Translator, node: fx.Node, given: int, activation: int = 0) -> int:
    """The largest of each window; what lies beside a map is less than all."""
    a, source = arguments(node), t.source(node)
    answer, kernel, pads = moved_shape(t.shapes[node.name]), pair(a["kernel_size"]), pair(a["padding"])
    strides = pair(a["stride"]) if a["stride"] else kernel
    ends = [
        (p, max(p, (m - 1) * s + k - n - p))  # windows that begin inside and end beyond: ceil_mode
        for n, m, k, s, p in zip(t.file.shapes[source][1:3], answer[1:3], kernel, strides, pads, strict=True)
    ]
    if pair(a["dilation"]) != (1, 1):
        raise Unsupported(f"A .tflite file has no form for the windows of {node.name}.")
    source, padding = _padded(t, source, ends, (kernel, strides, (1, 1)), node.name, least=True)
    return t.file.operator(
        "MAX_POOL_2D", [source], [t.like(source, answer, node.name)], "Pool2DOptions", padding=padding,
        strideH=strides[0], strideW=strides[1], filterHeight=kernel[0], filterWidth=kernel[1],
    )  # fmt: skip


TRANSLATIONS: dict[str, Callable[..., int]] = {
    "clip": pointwise.clip, "add": pointwise.add, "mul": pointwise.multiply, "sub": pointwise.subtract,
    "sigmoid": pointwise.sigmoid, "tanh": pointwise.tanh, "softmax": pointwise.softmax, "leaky_relu": pointwise.leaky,
    "hardswish": pointwise.hard_swish, "hardsigmoid": pointwise.gate, "silu": pointwise.silu, "gelu": pointwise.gelu,
    "elu": pointwise.elu, "mean": _mean, "adaptive_avg_pool2d": _mean, "avg_pool2d": _average_pool,
    "max_pool2d": _max_pool, "amax": _largest,
    "flatten": moves.reshape, "reshape": moves.reshape, "squeeze": moves.reshape, "unsqueeze": moves.reshape,
    "unflatten": moves.reshape, "transpose": moves.permute, "permute": moves.permute, "cat": moves.concatenate,
    "slice": moves.slice_, "select": moves.select, "expand": moves.expand, "roll": moves.roll, "pad": moves.pad,
    "scaled_dot_product_attention": tokens.attention, "matmul": tokens.product, "bmm": tokens.product,
    **{name: tokens.plainly(kernel) for name, kernel in tokens.PLAIN.items()},
}  # fmt: skip
"""By the operator's name in the graph; those that only move values give their tensor, others fill `given`."""

MOVES = PASS | {"expand", "roll"}
"""Operators that give a tensor of their own, in the codes of what they read."""
