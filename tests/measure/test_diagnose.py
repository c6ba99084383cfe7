"""Each reason why a file is not faster is found where it holds, and only there."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compression import models
from compression.data import load
from compression.measure.diagnose import WEIGHT_ZERO_POINT, diagnose, optimized_graph
from compression.measure.profile import profile, read
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.records.analysis import OperatorTime, Profile
from compression.records.measurement import LayerReport, Machine
from compression.steps import Prune, Quantize
from tests.networks import tiny

MACHINE = Machine("A processor", 2, True, "Linux x86_64", "3.11", "2", "1")


@pytest.fixture(scope="module")
def prepared():
    return prepare(models.load("lenet5", "digits"), load("digits"), calibration_images=64)


def kinds(prepared, *steps, **options) -> dict:
    found = compress_prepared(prepared, Recipe(steps=steps))
    machine = options.pop("machine", MACHINE)
    return {f.kind: f for f in diagnose(found.onnx, found.layers, machine, **options)}


def report(**changes) -> LayerReport:
    usual = LayerReport("conv", "Conv2d", (16, 16, 3, 3), 2304, 8, 0.0, 5_000_000, 2304, None, "plain")
    return dataclasses.replace(usual, **changes)


def test_an_integer_file_on_a_processor_with_vnni_has_no_excuse(prepared):
    assert set(kinds(prepared, Quantize())) <= {"odd channel counts"}


def test_masked_sparsity(prepared):
    found = kinds(prepared, Prune(sparsity=0.8))["masked sparsity"]
    assert "80%" in found.reason and found.evidence["zero_weights"] > 0
    assert 0 < found.evidence["macs_with_zeros"] < found.evidence["macs"]
    assert "masked sparsity" not in kinds(prepared, Quantize())


def test_weights_alone(prepared):
    found = kinds(prepared, Quantize(weight_bits=4, activation_bits=32))["weight-only quantization"]
    assert "4 bits" in found.reason and found.evidence["integer_kernels"] == 0 and found.evidence["float_kernels"] > 0
    assert "weight-only quantization" not in kinds(prepared, Quantize(weight_bits=4))


def test_a_processor_without_vnni(prepared):
    without = dataclasses.replace(MACHINE, vnni=False)
    assert kinds(prepared, Quantize(), machine=without)["no VNNI"].evidence["integer_kernels"] > 0
    assert "no VNNI" not in kinds(prepared, Quantize(activation_bits=32), machine=without)


def test_odd_channels(prepared):
    layers = [
        report(name="first", shape=(12, 3, 3, 3)), report(name="depthwise", shape=(16, 1, 3, 3)),
        report(name="even", shape=(24, 16, 1, 1)), report(name="odd", shape=(24, 20, 1, 1)),
        report(name="last", shape=(10, 24)),
    ]  # fmt: skip
    found = diagnose(prepared.baseline.onnx, [dataclasses.replace(layer, bits=32) for layer in layers], MACHINE)
    assert [f.kind for f in found] == ["odd channel counts"]
    assert found[0].evidence["layers"] == {"first": (12,), "odd": (20,)}
    assert found[0].evidence["share_of_macs"] == pytest.approx(0.4)


def test_conversions_around_an_activation_without_integer_kernel():
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    swish = prepare(network.eval(), load("digits"), calibration_images=64)
    found = kinds(swish, Quantize(placement="everywhere"))["conversions left in the graph"]
    assert found.evidence["nodes"][-1] in ("QuantizeLinear after Conv", "QuantizeLinear after Mul")
    assert len(found.evidence["nodes"]) == 2, "the weights themselves are decoded when the file loads"


def test_asymmetric_weights():
    file = integer_convolution(zero_point=3)
    assert "asymmetric weights" in {f.kind for f in diagnose(file, [report()], MACHINE)}
    assert "asymmetric weights" not in {
        f.kind for f in diagnose(integer_convolution(zero_point=0), [report()], MACHINE)
    }


def test_asymmetric_bytes_run_in_integer_kernels_and_carry_the_note():
    ready = prepare(tiny(), load("digits"), calibration_images=64)
    step = Quantize(scheme="asymmetric", reduce_range="off")  # with 7 bits zero points are folded
    candidate = compress_prepared(ready, Recipe(steps=(step,), quality="fast", calibration_images=64))
    graph = optimized_graph(candidate.onnx)
    kernels = [node for node in graph.node if node.op_type in WEIGHT_ZERO_POINT]
    assert len(kernels) == len(candidate.layers) and not {"Conv", "Gemm"} & {node.op_type for node in graph.node}
    found = {f.kind: f for f in diagnose(candidate.onnx, candidate.layers, MACHINE)}
    assert len(found["asymmetric weights"].evidence["nodes"]) == len(kernels) - 1  # the depthwise one stays linear
    linear = compress_prepared(ready, Recipe(steps=(Quantize(),), quality="fast", calibration_images=64))
    assert "asymmetric weights" not in {f.kind for f in diagnose(linear.onnx, linear.layers, MACHINE)}


def integer_convolution(*, zero_point: int) -> bytes:
    """One QLinearConv with uint8 weights."""
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.integers(0, 255, (8, 8, 3, 3)).astype(np.uint8), "s": np.float32(0.1), "z": np.uint8(0),
        "zw": np.uint8(zero_point),
    }  # fmt: skip
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "zw", "s", "z"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", 8, None, None]) for name in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10).SerializeToString()


@pytest.mark.parametrize(("kernels_ms", "small", "found"), [(0.5, 0.1, True), (0.98, 0.1, False), (0.98, 0.6, True)])
def test_overhead(prepared, kernels_ms, small, found):
    told = Profile((OperatorTime("Conv", 3, kernels_ms, 1.0),), 1.0, kernels_ms, small, 50, 1)
    assert ("overhead" in kinds(prepared, Quantize(), profile=told)) is found


def test_threads(prepared):
    assert kinds(prepared, Quantize(), threads=4)["too many threads"].evidence == {"threads": 4, "cores": 2}
    assert "too little work for the threads" in kinds(prepared, Quantize(), threads=2)
    assert not {"too many threads", "too little work for the threads"} & set(kinds(prepared, Quantize(), threads=1))


def test_optimized_graph_is_a_graph(prepared):
    assert isinstance(optimized_graph(prepared.baseline.onnx), onnx.GraphProto)


def test_profile_adds_up(prepared):
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    found = profile(prepared.baseline.onnx, image, runs=5)
    assert {"Conv", "MaxPool"} <= {operator.operator for operator in found.operators}
    assert sum(operator.ms for operator in found.operators) == pytest.approx(found.kernels_ms)
    assert sum(operator.share for operator in found.operators) == pytest.approx(1)
    assert [o.ms for o in found.operators] == sorted((o.ms for o in found.operators), reverse=True)
    assert found.runs == 5 and found.run_ms > 0 and 0 <= found.outside_kernels < 1


def kernel(name: str, index: int, begin: int, dur: int) -> dict:
    where = {"op_name": name, "node_index": str(index)}
    return {"cat": "Node", "name": f"{index}_kernel_time", "ts": begin, "dur": dur, "args": where}


def call(begin: int) -> dict:
    return {"cat": "Session", "name": "model_run", "ts": begin, "dur": 90, "args": {}}


def test_a_run_that_is_interrupted_says_nothing_of_its_kernels():
    events = [event for run in range(0, 300, 100) for event in (call(run), kernel("Conv", 0, run, 20))]
    events += [kernel("MaxPool", 1, run + 50, dur) for run, dur in ((0, 4), (100, 18_000), (200, 4))]
    found = read(events, run_ms=0.1, runs=3, threads=1)
    assert [(o.operator, o.ms) for o in found.operators] == [("Conv", 0.02), ("MaxPool", 0.004)]


def test_profile_counts_only_the_last_runs():
    warm_up = [call(0), kernel("Conv", 0, 1, 5000)]
    counted = [call(100), kernel("Conv", 0, 101, 20), kernel("Conv", 1, 130, 40), kernel("Add", 2, 180, 4)]
    counted += [call(200), kernel("Conv", 0, 201, 30), kernel("Conv", 1, 240, 40), kernel("Add", 2, 290, 6)]
    found = read(warm_up + counted, run_ms=0.1, runs=2, threads=1)
    assert [(o.operator, o.calls) for o in found.operators] == [("Conv", 2), ("Add", 1)]
    assert [o.ms for o in found.operators] == pytest.approx([0.065, 0.005])
    assert found.small_kernels == pytest.approx(0.005 / 0.07) and found.outside_kernels == pytest.approx(0.3)
