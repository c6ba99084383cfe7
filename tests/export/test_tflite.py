"""int8 `.tflite` files of our own: LiteRT and TFLM answer as ONNX Runtime does about the same network."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from compression import models
from compression.data import load
from compression.errors import InvalidSetting, Unsupported
from compression.export.tflite import export
from compression.measure.tflite_runs import COUNTS_ARENAS
from compression.network.graph import layers
from compression.network.storage import stored
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.pipeline.tflite_file import form_of, in_integers, measured
from compression.recipe import Recipe
from compression.steps import Quantize

RECIPE = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8, placement="everywhere"),), quality="fast")
NETWORKS = ["lenet5", *(pytest.param(n, marks=pytest.mark.slow) for n in
            ("lenet300", "vgg11", "resnet20", "resnet56", "mobilenetv2", "shufflenetv2"))]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_litert_answers_as_onnx_runtime(name):
    prepared = prepare(models.load(name, "digits"), load("digits"))
    candidate = compress_prepared(prepared, RECIPE)
    content, found = measured(candidate, prepared)
    assert found.equal >= 0.995
    assert content[4:8] == b"TFL3" and found.size_bytes == len(content)
    assert not COUNTS_ARENAS or (found.arena.answered > 0 and found.arena.equal >= 0.99)
    assert not COUNTS_ARENAS or 1_000 < found.arena.size_bytes < 1_000_000
    written = layers(candidate.books.graph)
    assert found.accuracy.n == len(prepared.data.test) and sum(dict(found.kernels).values()) >= len(written)
    tensors = {each["name"]: each for each in Interpreter(model_content=content).get_tensor_details()}
    for layer, module in written.items():
        scales = tensors[f"{layer}.weight"]["quantization_parameters"]["scales"]
        if name == "lenet5":  # no batch norm is folded in
            assert np.array_equal(scales, stored(module).scale)


@pytest.mark.parametrize(("recipe", "form"), [
    (Recipe(steps=(Quantize(weight_bits=3, activation_bits=8, placement="everywhere"),), quality="fast"), "int4"),
    (Recipe(quality="fast"), "float"),
])  # fmt: skip
def test_weights_in_4_bits_and_floats_answer_as_the_onnx_file(recipe, form):
    prepared = prepare(models.load("lenet5", "digits"), load("digits"))
    candidate = compress_prepared(prepared, recipe)
    _, found = measured(candidate, prepared, form)
    assert form_of(recipe, in_4_bits=form == "int4") == form
    assert found.equal >= 0.995
    weights = prepared.baseline.parameters * (0.5 if form == "int4" else 4)
    assert weights < found.size_bytes < weights + 40_000
    assert not COUNTS_ARENAS or form == "int4" or found.arena.size_bytes  # TFLM refuses linear layers of 4 bits


def test_what_the_file_cannot_hold_is_named():
    graph = trace(models.build("lenet5", input_shape=(1, 8, 8), classes=10), (1, 8, 8))
    with pytest.raises(Unsupported, match="8-bit symmetric weights; those of '0'"):
        export(graph, (1, 8, 8), load("digits").normalize(load("digits").train.images[:4]))
    with pytest.raises(InvalidSetting, match="activation_bits=8"):
        in_integers(Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),)))
