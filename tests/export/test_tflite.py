"""int8 `.tflite` files of our own: LiteRT and TFLM answer as ONNX Runtime does about the same network."""

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from compression import models
from compression.data import load
from compression.errors import InvalidSetting, Unsupported
from compression.export.tflite import export
from compression.host.onnx_runtime import session
from compression.measure import tflite_runs
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


def test_scores_are_those_of_the_onnx_file_and_not_rounded_to_8_bits():
    """One layer: all that is rounded is the image. TFLM too: a scale for each class is that class's."""
    data = load("digits")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network[1].weight.data *= torch.logspace(-1, 1, 10)[:, None]
    prepared = prepare(network.eval(), data, calibration_images=64)
    candidate = compress_prepared(prepared, RECIPE)
    content = export(candidate.books.graph, (1, 8, 8), prepared.calibration.images[:8])
    about = tflite_runs.about(content, (1, 8, 8))
    assert about.score_type == "int16" and set(about.kernels) == {"RESHAPE", "QUANTIZE", "CONV_2D"}
    images = data.normalize(data.test.images[:50]).numpy()
    runner = session(candidate.onnx)
    expected = runner.run(None, {runner.get_inputs()[0].name: images})[0]
    calibrated = runner.run(None, {runner.get_inputs()[0].name: prepared.calibration.images[:8].numpy()})[0]
    assert np.abs(expected).max() > np.abs(calibrated).max()  # nothing is cut off beyond what was seen
    codes = np.clip(np.round(images.transpose(0, 2, 3, 1) / np.float32(about.image_grid[0])) + about.image_grid[1],
                    -128, 127).astype(np.int8)  # fmt: skip
    ask = [lite(content), *([micro(content)] if COUNTS_ARENAS else [])]
    for runtime in ask:
        found = np.concatenate([runtime(image[None]) for image in codes]) * about.score_grid[0]
        assert np.abs(found - expected).max() <= 1.01 * about.score_grid[0]


def lite(content):
    run = Interpreter(model_content=content, num_threads=1)
    run.allocate_tensors()

    def ask(image):
        run.set_tensor(run.get_input_details()[0]["index"], image)
        run.invoke()
        return run.get_tensor(run.get_output_details()[0]["index"])

    return ask


def micro(content):
    from tflite_micro.python.tflite_micro import runtime

    run = runtime.Interpreter.from_bytes(content, arena_size=1 << 20)

    def ask(image):
        run.set_input(image, 0)
        run.invoke()
        return run.get_output(0)

    return ask


def test_what_the_file_cannot_hold_is_named():
    graph = trace(models.build("lenet5", input_shape=(1, 8, 8), classes=10), (1, 8, 8))
    with pytest.raises(Unsupported, match="8-bit symmetric weights; those of '0'"):
        export(graph, (1, 8, 8), load("digits").normalize(load("digits").train.images[:4]))
    with pytest.raises(InvalidSetting, match="activation_bits=8"):
        in_integers(Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),)))
