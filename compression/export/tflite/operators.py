"""Operators of the graph, written as those of TFLite on maps [n, H, W, C]."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite.file import Grid, TfliteFile
from compression.network.graph import arguments, folded_norm, operator_name, padding_of, pair
from compression.network.storage import stored

SAME, VALID = 0, 1


def moved(rank: int) -> list[int]:
    """Where each axis of a value [n, C…, H, W] stands in the file: [n, H, W, C…]; others stay as they are."""
    return [0, rank - 2, rank - 1, *range(1, rank - 2)] if rank >= 4 else list(range(rank))


def moved_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file."""
    return tuple(shape[axis] for axis in moved(len(shape)))


@dataclass
class Translator:
    """What translations read: the graph, the file, the tensor of each node and every shape as PyTorch has it."""

    graph: fx.GraphModule
    file: TfliteFile
    tensors: dict[fx.Node, int]
    shapes: dict[str, tuple[int, ...]]

    def on_grid(self, tensor: int, grid: Grid) -> int:
        """The same value in the codes of `grid`."""
        if self.file.grids[tensor] == grid:
            return tensor
        made = self.file.value(self.file.shapes[tensor], grid, f"value{tensor}")
        return self.file.operator("QUANTIZE", [tensor], [made], "QuantizeOptions")

    def like(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """A new value of a shape in the file, on the grid of `tensor`."""
        grid = self.file.grids[tensor]
        assert grid is not None
        return self.file.value(shape, grid, name)

    def reshaped(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """The same numbers in another shape."""
        if self.file.shapes[tensor] == shape:
            return tensor
        lengths = self.file.whole([-1, *shape[1:]], f"{name} lengths")
        return self.file.operator("RESHAPE", [tensor, lengths], [self.like(tensor, shape, name)], "ReshapeOptions",
                                  newShape=[-1, *shape[1:]])  # fmt: skip

    def transposed(self, tensor: int, order: list[int], name: str) -> int:
        """The value with its axes in another order."""
        shape = tuple(self.file.shapes[tensor][axis] for axis in order)
        axes = self.file.whole(order, f"{name} order")
        return self.file.operator("TRANSPOSE", [tensor, axes], [self.like(tensor, shape, name)], "TransposeOptions")

    def split(self, node: fx.Node) -> None:
        """Parts of a value along an axis; each 'getitem' of `node` gives one."""
        source, at = self.tensors[node.args[0]], 0  # type: ignore[index]
        rank = len(self.file.shapes[source])
        axis = moved(rank).index(arguments(node)["dim"] % rank)
        for reader in sorted(node.users, key=lambda user: user.args[1]):  # type: ignore[arg-type, return-value]
            shape = moved_shape(self.shapes[reader.name])
            parts = arguments(node).get("split_size") or shape[axis]
            at = int(reader.args[1]) * parts if isinstance(parts, int) else sum(parts[: int(reader.args[1])])  # type: ignore[arg-type]
            begin, end = [0] * rank, list(self.file.shapes[source])
            begin[axis], end[axis] = at, at + shape[axis]
            inputs = [self.file.whole(n, f"{reader.name} {i}") for i, n in enumerate((begin, end, [1] * rank))]
            self.tensors[reader] = self.file.operator(
                "STRIDED_SLICE", [source, *inputs], [self.like(source, shape, reader.name)], "StridedSliceOptions",
                beginMask=1, endMask=1,
            )  # fmt: skip


def layer(t: Translator, node: fx.Node, module: nn.Conv2d | nn.Linear, given: int, activation: int) -> None:
    """A convolution or linear layer, with its batch norm and clip."""
    source, name = t.tensors[node.args[0]], str(node.target)  # type: ignore[index]
    grid = t.file.grids[source]
    assert grid is not None
    kept = stored(module, folded_norm(t.graph, node))
    if kept.scale is None or kept.needs_zero_points:
        raise Unsupported(f"A .tflite file takes 8-bit symmetric weights; those of {name!r} are not.")
    kept = kept.with_bias_in_32_bits(np.float32(grid.scale)).plain()  # type: ignore[arg-type]
    assert kept.scale is not None
    steps = kept.scale.astype(np.float32) * np.float32(grid.scale)
    bias = t.file.weights(np.round(kept.bias / steps).astype(np.int32), steps, 0, f"{name}.bias")
    if isinstance(module, nn.Linear):
        if len(t.shapes[node.name]) != 2:
            raise Unsupported(f"A .tflite file takes linear layers of rows; {name!r} is one of maps.")
        weights = t.file.weights(kept.values, kept.scale, 0, f"{name}.weight")
        t.file.operator("FULLY_CONNECTED", [source, weights, bias], [given], "FullyConnectedOptions",
                        fusedActivationFunction=activation)  # fmt: skip
        return
    _convolution(t, module, [source, given, bias], kept.values, kept.scale, activation, name)


def _convolution(
    t: Translator, module: nn.Conv2d, ends: list[int], codes: np.ndarray, scales: np.ndarray, activation: int, name: str
) -> None:
    source, given, bias = ends
    left, right, above, below = padding_of(module)
    window = [(above, below), (left, right)]
    source, padding = _padded(t, source, window, module.kernel_size, module.stride, module.dilation, name)
    options = {"padding": padding, "strideH": module.stride[0], "strideW": module.stride[1],
               "dilationHFactor": module.dilation[0], "dilationWFactor": module.dilation[1],
               "fusedActivationFunction": activation}  # fmt: skip
    if module.groups == module.in_channels and module.groups > 1:
        weights = t.file.weights(codes.transpose(1, 2, 3, 0), scales, 3, f"{name}.weight")
        multiplier = module.out_channels // module.in_channels
        t.file.operator("DEPTHWISE_CONV_2D", [source, weights, bias], [given], "DepthwiseConv2DOptions",
                        depthMultiplier=multiplier, **options)  # fmt: skip
        return
    weights = t.file.weights(codes.transpose(0, 2, 3, 1), scales, 0, f"{name}.weight")
    t.file.operator("CONV_2D", [source, weights, bias], [given], "Conv2DOptions", **options)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TFLite's SAME sets beside a side."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _padded(
    t: Translator, source: int, pads: list[tuple[int, int]], kernel: tuple[int, ...], stride: tuple[int, ...],
    dilation: tuple[int, ...], name: str,
) -> tuple[int, int]:  # fmt: skip
    """The value to slide over, and TFLite's name for what it sets beside it."""
    shape = t.file.shapes[source]
    if not any(map(any, pads)):
        return source, VALID
    if pads == [_same(*each) for each in zip(shape[1:3], kernel, stride, dilation, strict=True)]:
        return source, SAME
    wide = (shape[0], *(n + sum(p) for n, p in zip(shape[1:3], pads, strict=True)), shape[3])
    amounts = t.file.whole([(0, 0), *pads, (0, 0)], f"{name} padding")
    return t.file.operator("PAD", [source, amounts], [t.like(source, wide, f"{name} padded")], "PadOptions"), VALID


def _clip(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    return t.file.operator("RELU6" if activation == 3 else "RELU", [t.tensors[node.args[0]]], [given])  # type: ignore[index]


def _add(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    a = arguments(node)
    terms = [a["self"], a["other"]]
    if a.get("alpha", 1) != 1 or not all(isinstance(term, fx.Node) and term in t.tensors for term in terms):
        raise Unsupported("A .tflite file takes sums of two computed values.")
    return t.file.operator("ADD", [t.tensors[term] for term in terms], [given], "AddOptions",
                           fusedActivationFunction=activation)  # fmt: skip


def _mean(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The mean of each whole map."""
    a, name = arguments(node), operator_name(node)
    whole = pair(a["output_size"]) == (1, 1) if "output_size" in a else sorted(d % 4 for d in a["dim"]) == [2, 3]
    source = t.tensors[a["self"]]
    if not whole or len(t.file.shapes[source]) != 4:
        raise Unsupported(f"A .tflite file takes {name} over whole maps only.")
    axes = t.file.whole([1, 2], f"{node.name} axes")
    return t.file.operator("MEAN", [source, axes], [given], "ReducerOptions",
                           keepDims=len(t.file.shapes[given]) == 4)  # fmt: skip


def _max_pool(t: Translator, node: fx.Node, given: int, activation: int = 0) -> int:
    a = arguments(node)
    source = t.tensors[a["self"]]
    shape, answer = t.file.shapes[source], moved_shape(t.shapes[node.name])
    kernel, pads = pair(a["kernel_size"]), pair(a["padding"])
    strides = pair(a["stride"]) if a["stride"] else kernel
    same = [_same(n, k, s, 1) for n, k, s in zip(shape[1:3], kernel, strides, strict=True)]
    plain = tuple((n - k) // s + 1 for n, k, s in zip(shape[1:3], kernel, strides, strict=True)) == answer[1:3]
    if pair(a["dilation"]) != (1, 1) or not ((plain and pads == (0, 0)) or same == [(p, p) for p in pads]):
        raise Unsupported(f"A .tflite file has no form for the windows of {node.name}.")
    return t.file.operator(
        "MAX_POOL_2D", [source], [t.like(source, answer, node.name)], "Pool2DOptions",
        padding=VALID if pads == (0, 0) else SAME, strideH=strides[0], strideW=strides[1], filterHeight=kernel[0],
        filterWidth=kernel[1],
    )  # fmt: skip


def _reshape(t: Translator, node: fx.Node, given: int) -> int:
    """Maps become rows channel by channel, as PyTorch lays them."""
    source, before = t.tensors[node.args[0]], t.shapes[node.args[0].name]  # type: ignore[index, union-attr]
    after = t.shapes[node.name]
    if before[-2:] == after[-2:] and min(len(before), len(after)) >= 4:
        return t.reshaped(source, moved_shape(after), node.name)
    if len(after) >= 4:
        raise Unsupported("A .tflite file cannot hold a reshape of rows into maps yet.")
    if len(before) >= 4 and np.prod(before[-2:]) > 1 and np.prod(before[1:-2]) > 1:
        order = moved(len(before))
        source = t.transposed(source, [order.index(axis) for axis in range(len(before))], f"{node.name} channels")
    return t.reshaped(source, after, node.name)


def _transpose(t: Translator, node: fx.Node, given: int) -> int:
    """Axes of channels change places."""
    a, rank = arguments(node), len(t.shapes[node.name])
    order = list(range(rank))
    first, second = a["dim0"] % rank, a["dim1"] % rank
    order[first], order[second] = second, first
    places = moved(rank)
    return t.transposed(t.tensors[a["self"]], [places.index(order[axis]) for axis in places], node.name)


def _concatenate(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """All parts on the grid of the answer: the kernel copies codes."""
    a, rank, grid = arguments(node), len(t.file.shapes[given]), t.file.grids[given]
    assert grid is not None
    parts = [t.on_grid(t.tensors[part], grid) for part in a["tensors"]]
    return t.file.operator("CONCATENATION", parts, [given], "ConcatenationOptions",
                           axis=moved(rank).index(a["dim"] % rank))  # fmt: skip


TRANSLATIONS: dict[str, Callable[..., int]] = {
    "clip": _clip, "add": _add, "mean": _mean, "adaptive_avg_pool2d": _mean, "max_pool2d": _max_pool,
    "flatten": _reshape, "reshape": _reshape, "transpose": _transpose, "cat": _concatenate,
}  # fmt: skip
"""By the operator's name in the graph; those that only move values give their tensor, others fill `given`."""
