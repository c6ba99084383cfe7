"""Which multiples of channels this machine's kernels take well, measured once on small convolutions.

Kernels work on whole blocks of channels: what is missing in a block is either computed all the same, or costs another,
slower kernel. Three convolutions in a row, with `narrow` and with `wide` channels between, are timed in turns.
"""

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper
from onnxruntime import __version__ as runtime

from compression.host.channel_multiple import Multiple, Rounding, Timed, known, save
from compression.host.onnx_runtime import session
from compression.measure.latency import latency
from compression.records.measurement import Latency

OUTER, SIDE = 32, 14
COARSER, FINER, FINEST = (24, 32), (20, 24), (22, 24)
"""Widths that only multiples of 8, of 4 and of 1 give, each with the next one that the coarser multiple gives."""

SLOWER = 1.03
WORTH = 0.5
"""A finer multiple has to save at least this share of the time that its multiply-accumulates promise."""


def rounding() -> Rounding:
    """The multiple for this machine and its ONNX Runtime, from what is kept, or measured now and kept (2 s)."""
    found = known()
    if found is None or found.runtime != runtime:
        found = measured()
        save(found)
    return found


def measured() -> Rounding:
    """Measures now: 8, or 16 where a wider layer is quicker than one of 24, or less where that really saves time."""
    coarser = [_timed(kernel, *COARSER) for kernel in KERNELS]
    finer = [_timed(kernel, *FINER) for kernel in KERNELS]
    finest = [_timed(kernel, *FINEST) for kernel in KERNELS]
    return Rounding(*chosen(coarser, finer, finest), runtime, (*coarser, *finer, *finest))


def chosen(coarser: list[Timed], finer: list[Timed], finest: list[Timed]) -> tuple[Multiple, str]:
    """The multiple and the sentence that says why; the widths of each list are told apart by the next multiple only."""
    if any(timed.low > SLOWER for timed in coarser):
        return 16, f"Multiples of 16, as narrower layers are slower here: {_described(coarser)}."
    if not all(map(_pays, finer)):
        return 8, f"Multiples of 8: {_described(coarser)}, and smaller steps are hardly faster: {_described(finer)}."
    if not all(map(_pays, finest)):
        return 4, f"Multiples of 4: {_described(finer)}, and single channels are hardly faster: {_described(finest)}."
    return 1, f"Any number of channels: {_described(finest)}."


def _pays(timed: Timed) -> bool:
    return 1 - timed.high >= WORTH * (1 - timed.work)


def _described(all_timed: list[Timed]) -> str:
    first = all_timed[0]
    times = " and ".join(f"{timed.ratio:.2f} ({timed.kernel})" for timed in all_timed)
    return f"{first.narrow} channels take {times} of the latency of {first.wide} for {first.work:.2f} of the MACs"


def _timed(kernel: str, narrow: int, wide: int) -> Timed:
    image = np.random.default_rng(0).standard_normal((1, OUTER, SIDE, SIDE)).astype(np.float32)
    found: Latency = latency(session(_file(kernel, narrow)), session(_file(kernel, wide)), image)
    work = (2 * OUTER * narrow + narrow**2) / (2 * OUTER * wide + wide**2)
    return Timed(kernel, narrow, wide, found.ratio, found.ratio_interval.low, found.ratio_interval.high, work)


def _file(kernel: str, width: int) -> bytes:
    """Three convolutions of 3×3 with OUTER → width → width → OUTER channels, as an ONNX file."""
    graph = KERNELS[kernel](width)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def _sizes(width: int) -> list[tuple[int, int]]:
    return [(OUTER, width), (width, width), (width, OUTER)]


def _float(width: int) -> GraphProto:
    value, nodes, stored = "image", [], {}
    for i, (inputs, outputs) in enumerate(_sizes(width)):
        stored[f"w{i}"] = _weights(inputs, outputs)
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [value := f"y{i}"]))
    return _graph(nodes, stored, value)


def _integer(width: int) -> GraphProto:
    stored: dict[str, np.ndarray] = {"s": np.array(0.05, np.float32), "z": np.array(0, np.uint8)}
    nodes = [helper.make_node("QuantizeLinear", ["image", "s", "z"], [value := "q"])]
    for i, (inputs, outputs) in enumerate(_sizes(width)):
        stored[f"w{i}"] = np.clip(_weights(inputs, outputs) * 100, -127, 127).round().astype(np.int8)
        stored[f"s{i}"], stored[f"z{i}"] = np.full(outputs, 0.01, np.float32), np.zeros(outputs, np.int8)
        given = [value, "s", "z", f"w{i}", f"s{i}", f"z{i}", "s", "z"]
        nodes.append(helper.make_node("QLinearConv", given, [value := f"y{i}"], kernel_shape=[3, 3], pads=[1] * 4))
    nodes.append(helper.make_node("DequantizeLinear", [value, "s", "z"], [value := "out"]))
    return _graph(nodes, stored, value)


KERNELS = {"fp32": _float, "int8": _integer}


def _weights(inputs: int, outputs: int) -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal((outputs, inputs, 3, 3))
    return (drawn / (9 * inputs) ** 0.5).astype(np.float32)


def _graph(nodes: list, stored: dict[str, np.ndarray], output: str) -> GraphProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, OUTER, SIDE, SIDE])
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    return helper.make_graph(nodes, "rounding", [image], [answer], tensors)
