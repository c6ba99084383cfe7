"""Live tensors of the optimized graph: against a replay node by node, and against what a process really grows by."""

import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from compression import models
from compression.data import load
from compression.errors import InvalidFile
from compression.export import export
from compression.measure.memory import activations, growth, optimized_model
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.steps import Quantize

SHAPE = (1, 8, 8)
NETWORKS = ("lenet300", "lenet5", "resnet20", "vgg11", "mobilenetv2")


def value_info(name: str, value: np.ndarray) -> onnx.ValueInfoProto:
    element = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(name, element, value.shape)


def replayed_peak(model: bytes, images: np.ndarray) -> int:
    """Every operator as a session of its own; arrays are dropped after their last reader."""
    whole = optimized_model(model)
    stored = {tensor.name: tensor for tensor in whole.graph.initializer}
    values, peak = {"image": images}, 0
    for i, node in enumerate(whole.graph.node):
        inputs = [name for name in node.input if name and name not in stored]
        shapes = [value_info(name, values[name]) for name in inputs]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        weights = [stored[name] for name in dict.fromkeys(node.input) if name in stored]
        graph = onnx.helper.make_graph([node], "g", shapes, results, weights)
        alone = onnx.helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        runner = ort.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
        made = runner.run(None, {n: values[n] for n in inputs})
        values |= dict(zip((o.name for o in runner.get_outputs()), made, strict=True))
        peak = max(peak, sum(v.nbytes for v in values.values()))
        later = {n for other in whole.graph.node[i + 1 :] for n in other.input} | {o.name for o in whole.graph.output}
        values = {n: v for n, v in values.items() if n in later}
    return peak


@pytest.mark.parametrize("name", NETWORKS)
def test_peak_equals_a_replay(name):
    network = models.load(name, "digits")
    fp32 = export(trace(network, SHAPE), SHAPE, packed=False).onnx
    images = np.zeros((2, *SHAPE), np.float32)
    assert activations(fp32, SHAPE, batch=2).peak_bytes == replayed_peak(fp32, images)


def test_peak_of_an_8_bit_file_equals_a_replay_and_is_smaller():
    prepared = prepare(models.load("resnet20", "digits"), load("digits"), calibration_images=64)
    small = compress_prepared(prepared, Recipe(steps=(Quantize(),), quality="fast", calibration_images=64)).onnx
    images = np.zeros((1, *SHAPE), np.float32)
    assert activations(small, SHAPE).peak_bytes == replayed_peak(small, images)
    assert activations(small, SHAPE).peak_bytes < activations(prepared.baseline.onnx, SHAPE).peak_bytes / 3


def test_bytes_scale_with_the_batch():
    fp32 = export(trace(models.load("lenet5", "digits"), SHAPE), SHAPE, packed=False).onnx
    assert activations(fp32, SHAPE, batch=8).peak_bytes == 8 * activations(fp32, SHAPE).peak_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_grows_by_as_much_as_its_live_tensors():
    fp32 = export(trace(models.load("resnet20", "digits"), SHAPE), SHAPE, packed=False).onnx
    found = growth(fp32, SHAPE)
    assert found.expected_bytes > 64 << 20
    assert 0.8 < found.ratio < 1.2


def test_what_is_no_model_is_refused():
    with pytest.raises(InvalidFile):
        activations(b"nothing", SHAPE)
