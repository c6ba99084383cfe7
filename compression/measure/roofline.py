"""Estimated latency: for each operator what bounds it, arithmetic or memory, and what starting it costs.

Roofline after Williams et al. 2009, "Roofline: an insightful visual performance model", eq. 1, plus a constant per
operator. Work is read off the graph that ONNX Runtime runs. This machine's constants come from microbenchmarks of
single operators, never from the networks that are estimated.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compression.host.machine_lock import machine_lock
from compression.host.onnx_runtime import session
from compression.measure.memory import optimized_model, values_of

Kind = Literal["conv", "pointwise", "depthwise", "gemm", "move"]

WEIGHTS = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3, "Gemm": 1, "FusedGemm": 1, "MatMul": 1, "QGemm": 3}
"""Which input of an operator is its weights."""

INTEGER = {"QLinearConv", "QGemm"}
WIDTHS: dict[str, tuple[int, ...]] = {"gemm": (32, 128, 512)} | dict.fromkeys(
    ("conv", "pointwise", "depthwise"), (8, 16, 32, 64, 128)
)
"""Widths at which operators are timed; narrow ones leave part of the processor's lanes empty."""

SIDES = (2, 14)
"""Maps on which operators are timed: on small ones, kernels prepare more than they multiply."""

RUNS, CHAIN, LAYERS = 30, 40, 3


@dataclass(frozen=True)
class Work:
    """What one operator does for one image. `bytes` are read and written, weights included.

    `width` is the geometric mean of its channels in and out, a kernel larger or smaller than 3×3 counted as channels;
    `places` is the size of the map that it makes.
    """

    operator: str
    kind: Kind
    integer: bool
    macs: int
    bytes: int
    width: float
    places: int = 1


@dataclass(frozen=True)
class Constants:
    """What a processor can do: MACs per second by kind, number format, map and width; bytes and seconds.

    `rates` maps (kind, integer) to (places, ((width, MACs per second), …)), both in ascending order.
    """

    rates: dict[tuple[Kind, bool], tuple[tuple[int, tuple[tuple[int, float], ...]], ...]]
    bytes_per_second: float
    seconds_per_operator: float
    seconds_per_call: float

    def rate(self, work: Work) -> float:
        """MACs per second, interpolated between the maps and widths at which they are known (logarithmically)."""
        maps, found = [], []
        for places, known in self.rates[work.kind, work.integer]:
            widths, rates = zip(*known, strict=True)
            maps.append(np.log(places))
            found.append(np.interp(np.log(work.width), np.log(widths), np.log(rates)))
        return float(np.exp(np.interp(np.log(work.places), maps, found)))


def work_of(model: bytes, input_shape: tuple[int, int, int]) -> tuple[Work, ...]:
    """The operators of the graph that runs on this machine, for one image of (C, H, W), in order."""
    graph = optimized_model(model)
    values = values_of(graph, input_shape)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    return tuple(_work(node, values, stored) for node in graph.graph.node)


def estimate_ms(work: Sequence[Work], constants: Constants) -> float:
    """Milliseconds for one image."""
    seconds = constants.seconds_per_call
    for each in work:
        arithmetic = each.macs / constants.rate(each) if each.macs else 0.0
        seconds += constants.seconds_per_operator + max(arithmetic, each.bytes / constants.bytes_per_second)
    return 1e3 * seconds


@cache
def this_processor(threads: int = 1) -> Constants:
    """Microbenchmarks under the machine's lock, about three seconds; kept for as long as the process lives."""
    with machine_lock():
        call = _seconds(_chain(1), (1, 8, 4, 4), threads)
        per_operator = max(0.0, (_seconds(_chain(CHAIN), (1, 8, 4, 4), threads) - call) / (CHAIN - 1))
        big = (1, 64, 128, 128)
        copied = 2 * 4 * int(np.prod(big))
        speed = copied / max(1e-9, _seconds(_chain(1), big, threads) - call)
        rates = {
            (kind, integer): _rates(kind, integer, call + LAYERS * per_operator, threads)
            for kind in WIDTHS
            for integer in (False, True)
        }
    return Constants(rates, speed, per_operator, call - per_operator)  # type: ignore[arg-type]


def _work(node: onnx.NodeProto, values: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> Work:
    known = values | stored
    moved = sum(known[name].nbytes for name in (*node.input, *node.output) if name in known)
    place = WEIGHTS.get(node.op_type)
    if place is None or node.input[place] not in stored:
        return Work(node.op_type, "move", False, 0, moved, 1)
    weight, made = stored[node.input[place]], values[node.output[0]]
    if weight.ndim == 2:
        return Work(node.op_type, "gemm", node.op_type in INTEGER, weight.size, moved, weight.size**0.5)
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    into, kernel = weight.shape[1], int(np.prod(weight.shape[2:]))
    kind: Kind = "depthwise" if group > 1 and group >= into else "pointwise" if kernel == 1 else "conv"
    outs = made.size if kind != "depthwise" else made.size // max(1, weight.shape[1])
    read = into * kernel / 9 if kind == "conv" else into
    width = weight.shape[0] if kind == "depthwise" else (read * weight.shape[0]) ** 0.5
    places = made.size // weight.shape[0]  # wherever the channels stand: 8-bit kernels have them last
    return Work(node.op_type, kind, node.op_type in INTEGER, outs * into * kernel, moved, width, places)


def _rates(
    kind: str, integer: bool, overhead: float, threads: int
) -> tuple[tuple[int, tuple[tuple[int, float], ...]], ...]:
    found = []
    for side in (1,) if kind == "gemm" else SIDES:
        known = []
        for width in WIDTHS[kind]:
            model, shape, macs = _stack(kind, integer, width, side)
            known.append((width, macs / max(1e-7, _seconds(model, shape, threads) - overhead)))
        found.append((side * side, tuple(known)))
    return tuple(found)


def _stack(kind: str, integer: bool, width: int, edge: int) -> tuple[bytes, tuple[int, ...], int]:
    """A file with `LAYERS` layers of that width on square maps, its input's shape and its multiply-accumulates."""
    shape: tuple[int, ...]
    if kind == "gemm":
        weight, shape = np.ones((width, width), np.float32), (1, width)
        macs = LAYERS * weight.size
    else:
        side = 1 if kind == "pointwise" else 3
        into = 1 if kind == "depthwise" else width
        weight, shape = np.ones((width, into, side, side), np.float32), (1, width, edge, edge)
        macs = LAYERS * weight.size * edge * edge
    operator = "Gemm" if kind == "gemm" else "Conv"
    padded = {"pads": [weight.shape[-1] // 2] * 4, "group": width // weight.shape[1]}
    nodes, stored = (_integers if integer else _floats)(operator, weight, {"transB": 1} if kind == "gemm" else padded)
    return _file(nodes, stored, shape), shape, macs


Nodes = tuple[list[onnx.NodeProto], list[TensorProto]]


def _floats(operator: str, weight: np.ndarray, attributes: dict[str, Any]) -> Nodes:
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=weight.shape).astype(np.float32) * 0.1 for _ in range(LAYERS)]
    names = ["x", *(f"v{i}" for i in range(LAYERS - 1)), "y"]
    nodes = [helper.make_node(operator, [names[i], f"w{i}"], [names[i + 1]], **attributes) for i in range(LAYERS)]
    return nodes, [numpy_helper.from_array(values, f"w{i}") for i, values in enumerate(drawn)]


def _integers(operator: str, weight: np.ndarray, attributes: dict[str, Any]) -> Nodes:
    """The same layers between values in 8 bits, as `compression.export` writes them."""
    rng = np.random.default_rng(0)
    stored = [
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(128, np.uint8), "z"),
        numpy_helper.from_array(np.full(weight.shape[0], 0.01, np.float32), "ws"),
        numpy_helper.from_array(np.zeros(weight.shape[0], np.int8), "wz"),
    ]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q0"])]
    for i in range(LAYERS):
        stored.append(numpy_helper.from_array(rng.integers(-9, 10, weight.shape).astype(np.int8), f"w{i}"))
        nodes += [
            helper.make_node("DequantizeLinear", [f"q{i}", "s", "z"], [f"d{i}"]),
            helper.make_node("DequantizeLinear", [f"w{i}", "ws", "wz"], [f"f{i}"], axis=0),
            helper.make_node(operator, [f"d{i}", f"f{i}"], [f"o{i}"], **attributes),
            helper.make_node("QuantizeLinear", [f"o{i}", "s", "z"], [f"q{i + 1}"]),
        ]
    nodes.append(helper.make_node("DequantizeLinear", [f"q{LAYERS}", "s", "z"], ["y"]))
    return nodes, stored


def _chain(length: int) -> bytes:
    """`length` operators that cost next to nothing on small values, and cannot be merged."""
    names = ["x", *(f"v{i}" for i in range(length - 1)), "y"]
    operators = ("Sigmoid", "Tanh") if length > 1 else ("Relu",)
    nodes = [helper.make_node(operators[i % len(operators)], [names[i]], [names[i + 1]]) for i in range(length)]
    return _file(nodes, [], None)


def _file(nodes: list[onnx.NodeProto], stored: list[TensorProto], shape: tuple[int, ...] | None) -> bytes:
    dims = list(shape) if shape else ["n", "c", "h", "w"]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10).SerializeToString()


def _seconds(model: bytes, shape: tuple[int, ...], threads: int) -> float:
    """Median of the time for one call."""
    runner, images = session(model, threads=threads), np.ones(shape, np.float32)
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        runner.run(None, {"x": images})
        times.append(time.perf_counter() - begin)
    return float(np.median(times[RUNS // 3 :]))
