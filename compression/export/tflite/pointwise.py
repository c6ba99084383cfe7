"""Operators on each value: sums, products, gates, activations, and batch norms that no layer takes in."""

import numpy as np
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite.file import Grid
from compression.export.tflite.translator import Translator, moved
from compression.network.graph import arguments

UNIT = Grid(1 / 256, -128)
"""What TFLite's kernels of functions into [0, 1] give: 256 steps of it."""
SIGNED_UNIT = Grid(1 / 128, 0)
"""The same for functions into [-1, 1]."""


def clip(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """ReLU or ReLU6 by itself."""
    return t.file.operator("RELU6" if activation == 3 else "RELU", [t.source(node)], [given])


def _terms(t: Translator, node: fx.Node, what: str) -> list[int]:
    """What is joined: computed and stored values and numbers, all with as many axes as the answer."""
    a, rank = arguments(node), len(t.shapes[node.name])
    if a.get("alpha", 1) != 1:
        raise Unsupported(f"A .tflite file takes {what} of two values without a factor; {node.name!r} has one.")
    return [t.read(a[term], rank) for term in ("self", "other")]


def add(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The sum of two values."""
    return t.file.operator("ADD", _terms(t, node, "sums"), [given], "AddOptions", fusedActivationFunction=activation)


def subtract(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The difference of two values."""
    return t.file.operator("SUB", _terms(t, node, "differences"), [given], "SubOptions")


def multiply(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The product of two values, one of which may be that of a channel."""
    return t.file.operator("MUL", _terms(t, node, "products"), [given], "MulOptions",
                           fusedActivationFunction=activation)  # fmt: skip


def _on_unit(
    t: Translator, node: fx.Node, given: int, kernel: str, grid: Grid, options: str = "", **fields: float
) -> int:
    """A kernel that answers on a grid of its own, and what it answers on the wanted grid."""
    wanted = t.file.grids[given]
    inner = given if wanted in (grid, None) else t.file.value(t.file.shapes[given], grid, f"{node.name} unit")
    t.file.operator(kernel, [t.source(node)], [inner], options, **fields)
    return given if inner == given else t.rounded(inner, given)


def sigmoid(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """1 / (1 + exp(-x))."""
    return _on_unit(t, node, given, "LOGISTIC", UNIT)


def tanh(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """The hyperbolic tangent."""
    return _on_unit(t, node, given, "TANH", SIGNED_UNIT)


def softmax(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """Softmax over an axis, which becomes the last one."""
    shape = t.file.shapes[given]
    axis, last = moved(len(shape)).index(arguments(node)["dim"] % len(shape)), len(shape) - 1
    if axis == last:
        return _on_unit(t, node, given, "SOFTMAX", UNIT, "SoftmaxOptions", beta=1.0)
    order = [*range(last + 1)]
    order[axis], order[last] = last, axis
    source = t.transposed(t.source(node), order, f"{node.name} last")
    grid = None if t.file.grids[source] is None else UNIT
    inner = t.file.value(t.file.shapes[source], grid, f"{node.name} unit")
    t.file.operator("SOFTMAX", [source], [inner], "SoftmaxOptions", beta=1.0)
    return t.fill(given, t.transposed(inner, order, f"{node.name} back"))


def gelu(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """x · Φ(x), exact or by tanh (Hendrycks & Gimpel 2016)."""
    tanh = arguments(node)["approximate"] == "tanh"
    return t.file.operator("GELU", [t.source(node)], [given], "GeluOptions", approximate=tanh)


def elu(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """x, or exp(x) - 1 where it is negative."""
    a = arguments(node)
    if (a["alpha"], a["scale"], a["input_scale"]) != (1, 1, 1):
        raise Unsupported(f"A .tflite file takes elu with an alpha of 1; {node.name!r} has another.")
    return t.file.operator("ELU", [t.source(node)], [given])


def leaky(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """x, or its share where it is negative."""
    alpha = float(arguments(node)["negative_slope"])
    return t.file.operator("LEAKY_RELU", [t.source(node)], [given], "LeakyReluOptions", alpha=alpha)


def hard_swish(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """x · min(max(x + 3, 0), 6) / 6."""
    return t.file.operator("HARD_SWISH", [t.source(node)], [given])


def hard_sigmoid(t: Translator, node: fx.Node, given: int | None = None) -> int:
    """min(max(x + 3, 0), 6) / 6 in steps of 1/256: x + 3 in steps of 6/256 from 0 on, whose codes are the answer's."""
    source, name = t.source(node), node.name
    shape, floats = t.file.shapes[source], t.file.grids[source] is None
    three = t.constant(1, Grid(3.0, 0), source, f"{name} 3")
    moved = t.file.value(shape, None if floats else Grid(6 / 256, -128), f"{name} moved")
    t.file.operator("ADD", [source, three], [moved], "AddOptions", fusedActivationFunction=3)
    sixth = t.constant(1, Grid(1 / 6, 0), source, f"{name} sixth")
    made = given if floats and given is not None else t.file.value(shape, None if floats else UNIT, name)
    return t.file.operator("MUL", [moved, sixth], [made], "MulOptions")


def gate(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """Hard sigmoid where the simulation computes it in floats."""
    made = hard_sigmoid(t, node, given)
    return made if made == given else t.rounded(made, given)


def silu(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """x / (1 + exp(-x))."""
    source = t.source(node)
    part = t.file.value(t.file.shapes[source], UNIT if t.file.grids[source] else None, f"{node.name} gate")
    t.file.operator("LOGISTIC", [source], [part])
    return t.file.operator("MUL", [source, part], [given], "MulOptions", fusedActivationFunction=activation)


def batch_norm(t: Translator, node: fx.Node, norm: nn.BatchNorm2d, given: int, activation: int) -> int:
    """A batch norm that no layer takes in: a depthwise convolution of 1 x 1 whose codes are 127 or -127."""
    source = t.source(node)
    grid, shape = t.file.grids[source], t.file.shapes[source]
    if len(shape) != 4 or norm.running_mean is None or norm.running_var is None:
        raise Unsupported(f"A .tflite file takes batch norms of maps; {node.name!r} is another one.")
    gain = (1 / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    gain = gain * norm.weight.detach().numpy() if norm.affine else gain
    shift = (norm.bias.detach().numpy() if norm.affine else 0.0) - gain * norm.running_mean.numpy()
    weights, bias = (_float_line if grid is None else _exact_line)(t, source, gain, shift, node.name)
    return t.file.operator(
        "DEPTHWISE_CONV_2D", [source, weights, bias], [given], "DepthwiseConv2DOptions",
        padding=1, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1,
        depthMultiplier=1, fusedActivationFunction=activation,
    )  # fmt: skip


def _float_line(t: Translator, source: int, gain: np.ndarray, shift: np.ndarray, name: str) -> tuple[int, int]:
    return t.file.floats(gain.reshape(1, 1, 1, -1), f"{name}.weight"), t.file.floats(shift, f"{name}.bias")


def _exact_line(t: Translator, source: int, gain: np.ndarray, shift: np.ndarray, name: str) -> tuple[int, int]:
    """Weights of 127 or -127 whose scales are the gains, and biases; less where a bias would not fit in 32 bits."""
    grid = t.file.grids[source]
    assert grid is not None
    fits = np.abs(shift) / (2**30 * grid.scale)
    scales = np.maximum(np.maximum(np.abs(gain), 1e-12) / 127, fits).astype(np.float32)
    codes = np.clip(np.round(gain / scales), -127, 127).astype(np.int8).reshape(1, 1, 1, -1)
    steps = scales * np.float32(grid.scale)
    bias = np.clip(np.round(shift / steps), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    return t.file.weights(codes, scales, 3, f"{name}.weight"), t.file.weights(bias, steps, 0, f"{name}.bias")
