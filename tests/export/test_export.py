"""Encodings round-trip; the packed file equals its unpacked twin; ONNX Runtime runs integer kernels; torch agrees."""

import collections
import dataclasses

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compression.data import load
from compression.errors import InvalidFile
from compression.export import export, pack
from compression.export.writer import Writer
from compression.host.onnx_runtime import optimized, session
from compression.network import integer_grids
from compression.network.integer_grids import largest
from compression.network.quantized_values import quantized_values
from compression.pipeline.compress import prepare, simulate
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from tests.networks import traced_tiny, trained

SHAPE = (1, 8, 8)
WEIGHT_DECODERS = {"BitShift", "BitwiseAnd", "CumSum", "Gather", "Mul", "Cast", "Slice", "Unsqueeze"}


@pytest.fixture(scope="module")
def learned():
    """A network outside the zoo that has learned Digits, traced and calibrated."""
    return prepare(trained(load("digits"), epochs=24), load("digits"))


def compressed(prepared, *steps):
    """The network compressed by `steps`, and the test images."""
    return simulate(prepared, Recipe(steps=steps)), prepared.data.normalize(prepared.data.test.images)


def run(model: bytes, images: torch.Tensor) -> np.ndarray:
    return session(model).run(None, {"image": images.numpy()})[0]


def operators(model: bytes, tmp_path) -> collections.Counter:
    optimized(model, str(tmp_path / "optimized.onnx"))
    return collections.Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)


BITS = {"zero": [2, 3, 4, 5, 6, 7, 8], "odd": [1, 2, 3, 4, 5, 6], "powers": [2, 3, 4], "shifted": [2, 3, 4, 5, 6, 7, 8]}


@st.composite
def weights(draw):
    """Codes of any grid with any share of pruned ones, or floats, of any shape."""
    kind = draw(st.sampled_from([*BITS, "half", "float"]))
    shape = tuple(draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    keep = rng.random(shape) < draw(st.sampled_from([0, 0.05, 0.5, 1]))
    if kind in ("half", "float"):
        floats = (rng.normal(size=shape) * keep).astype(np.float16 if kind == "half" else np.float32)
        return 16 if kind == "half" else 32, "zero", floats
    bits = draw(st.sampled_from(BITS[kind]))
    levels = np.unique(pack.table(bits, kind) // (1 if kind == "shifted" else integer_grids.gain(bits, kind)))
    levels = levels[np.abs(levels) <= largest(bits, kind)]
    return bits, kind, (rng.choice(levels, shape) * keep).astype(np.uint8 if kind == "shifted" else np.int8)


@given(weights())
@settings(max_examples=50)
def test_every_encoding_decodes_to_the_same_bits_in_numpy_and_onnx_runtime(case):
    bits, kind, values = case
    expected = values if kind == "shifted" else values * values.dtype.type(integer_grids.gain(bits, kind))
    for option in pack.options(values, bits, kind):
        encoding = pack.encode(values, option)
        assert tuple(t.nbytes for t in encoding.tensors) == option.payload
        assert np.array_equal(pack.decode(encoding), expected)
        assert np.array_equal(decoded_by_onnx_runtime(encoding), expected)


def decoded_by_onnx_runtime(encoding):
    writer = Writer()
    stored = writer.decoded(encoding, [writer.constant(tensor) for tensor in encoding.tensors])
    floats = writer.node("Cast", [stored], to=onnx.TensorProto.FLOAT)
    row = writer.node("Reshape", [floats, writer.constant(np.array([1, -1], np.int64))])
    zero = writer.node("Mul", ["image", writer.constant(np.float32(0))])
    file, _ = writer.finish(
        (1, 1), writer.node("Add", [row, writer.node("Flatten", [zero])]), int(np.prod(encoding.shape))
    )
    return run(file, torch.zeros(1, 1, 1))[0].reshape(encoding.shape)


@given(st.integers(1, 8), st.integers(0, 100), st.integers(0, 2**32))
@settings(max_examples=60)
def test_packed_bits_round_trip(bits, count, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8)
    packed = pack.pack_bits(codes, bits)
    assert packed.nbytes == -(-count * bits // 8)
    assert np.array_equal(pack.unpack_bits(packed, bits, count), codes)


@pytest.mark.parametrize("activation_bits", [8, 32])
@pytest.mark.parametrize("weight_bits", [2, 3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 6, 7)), 8])
@pytest.mark.parametrize("sparsity", [0.0, 0.6, 0.8])
def test_packed_file_equals_its_twin_and_the_simulation(learned, weight_bits, activation_bits, sparsity, tmp_path):
    quantize = Quantize(weight_bits=weight_bits, activation_bits=activation_bits)
    graph, images = compressed(learned, Prune(sparsity=sparsity), quantize)
    images = torch.cat([images, learned.data.normalize(learned.data.train.images)])  # a share of many, not of 359
    packed, twin = export(graph, SHAPE).onnx, export(graph, SHAPE, packed=False).onnx
    answers = run(packed, images)
    assert np.array_equal(answers, run(twin, images))
    with torch.no_grad():
        simulated = graph(images).numpy()
        sure = graph(images).softmax(1).max(1).values.numpy() > 0.55  # elsewhere a step in 8 bits may decide
    assert sure.mean() > 0.4
    assert np.array_equal(answers.argmax(1)[sure], simulated.argmax(1)[sure])
    assert np.abs(answers - simulated).max() < 0.02 * np.ptp(simulated)
    found = operators(packed, tmp_path)
    if activation_bits == 8:
        assert found["QLinearConv"] == 4 and found["QGemm"] == 1, found
        assert found["QuantizeLinear"] == 1 and found["Conv"] == found["Gemm"] == 0, found
    assert not WEIGHT_DECODERS & set(found), found


def test_float_file_runs_plain_operators_and_matches(learned, tmp_path):
    graph, images = compressed(learned, Prune(sparsity=0.7))
    model = export(graph, SHAPE).onnx
    with torch.no_grad():
        np.testing.assert_allclose(run(model, images), graph(images).numpy(), atol=1e-5)
    assert not WEIGHT_DECODERS & set(operators(model, tmp_path))


def test_another_engine_gives_the_same_predictions(learned):
    graph, images = compressed(learned, Prune(sparsity=0.6), Quantize(weight_bits=3))
    model = export(graph, SHAPE).onnx
    other = onnx.reference.ReferenceEvaluator(model).run(None, {"image": images.numpy()})[0]
    assert (other.argmax(1) == run(model, images).argmax(1)).mean() >= 0.995


@pytest.mark.parametrize("bits", [4, 8])
def test_folding_after_quantization_changes_no_code(learned, bits):
    """γ of both signs and zero: the file's codes are the quantizer's, times the sign of γ, and the answers agree."""
    prepared = dataclasses.replace(learned, dense=traced_tiny())
    graph, images = compressed(prepared, Quantize(weight_bits=bits, activation_bits=32))
    quantizer = graph.get_submodule("stem.0").parametrizations.weight[0]
    codes = quantizer.codes(graph.get_submodule("stem.0").parametrizations.weight.original).detach().numpy()
    gamma = graph.get_submodule("stem.1").weight.detach().numpy().reshape(-1, 1, 1, 1)
    found = pack.decode(export(graph, SHAPE).encodings["stem.0"])
    alive = gamma.ravel() != 0
    assert np.array_equal(
        found[alive], (integer_grids.gain(bits, quantizer.kind) * codes * np.sign(gamma))[alive].astype(np.int8)
    )
    assert not alive.all() and (gamma < 0).any()
    with torch.no_grad():
        np.testing.assert_allclose(run(export(graph, SHAPE).onnx, images), graph(images).numpy(), atol=1e-3)


def test_same_graph_same_bytes(learned):
    assert (
        export(compressed(learned, Quantize())[0], SHAPE).onnx == export(compressed(learned, Quantize())[0], SHAPE).onnx
    )


def test_rule_names_each_value_that_integers_are_computed_from():
    graph = traced_tiny()
    named = quantized_values(graph)
    kinds = {
        str(n.name).rstrip("_0123456789").removesuffix("_default")
        for n in graph.graph.nodes
        if named.get(n.name) == n.name
    }
    assert kinds == {"x", "hardtanh", "depthwise", "relu", "right", "cat", "adaptive_avg_pool2d"}, named
    passed = {name: owner for name, owner in named.items() if name != owner}
    assert {owner.partition("_")[0] for owner in passed.values()} == {"relu", "cat", "adaptive"}


def test_what_is_no_model_is_refused_with_a_sentence():
    with pytest.raises(InvalidFile, match="ONNX Runtime cannot load this file"):
        session(b"nonsense")


def test_baseline_is_the_plain_network(learned):
    assert not onnx.load_from_string(learned.baseline.onnx).functions
    assert {n.op_type for n in onnx.load_from_string(learned.baseline.onnx).graph.node} >= {"Conv", "Gemm", "Clip"}
