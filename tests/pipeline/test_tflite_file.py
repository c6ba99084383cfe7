"""`.tflite` files of strangers: measured as they answer, refused in one sentence, and read in another process."""

import random
from contextlib import suppress

import numpy as np
import pytest

from compression.data import load
from compression.errors import InvalidFile
from compression.export.tflite.file import Grid, TfliteFile
from compression.measure import tflite_runs
from compression.pipeline.tflite_file import measure_tflite
from compression.records.tflite import Arena
from tests.damage import damaged_bytes

WEIGHTS = np.random.default_rng(0).standard_normal((10, 192)).astype(np.float32)


def linear(shape: tuple[int, ...] = (1, 8, 8, 1), classes: int = 10, operator: str = "FULLY_CONNECTED") -> bytes:
    """A float classifier of one layer, by no exporter of ours."""
    file = TfliteFile()
    rows_of, n = shape[0], int(np.prod(shape[1:]))
    image, rows = file.value(shape, None, "x"), file.value((rows_of, n), None, "rows")
    lengths = [rows_of, n]
    file.operator("RESHAPE", [image, file.whole(lengths, "lengths")], [rows], "ReshapeOptions", newShape=lengths)
    scores = file.value((rows_of, classes), None, "y")
    weights = file.floats(WEIGHTS[:classes, :n], "w")
    file.operator(operator, [rows, weights, -1], [scores], "FullyConnectedOptions")
    return file.finish(image, scores)


def quantized() -> bytes:
    """The same in int8, written with scales of its own."""
    file, weights = TfliteFile(), WEIGHTS[:, :64]
    scale = np.abs(weights).max(1) / 127
    image = file.value((1, 8, 8, 1), Grid(0.02, -20), "x")
    rows = file.value((1, 64), Grid(0.02, -20), "rows")
    file.operator("RESHAPE", [image, file.whole([1, 64], "lengths")], [rows], "ReshapeOptions", newShape=[1, 64])
    scores = file.value((1, 10), Grid(0.4, 3), "y")
    stored = file.weights(np.round(weights / scale[:, None]).astype(np.int8), scale, 0, "w")
    file.operator("FULLY_CONNECTED", [rows, stored, -1], [scores], "FullyConnectedOptions")
    return file.finish(image, scores)


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 1, 8, 8)])
def test_a_float_file_is_as_accurate_as_its_weights(shape):
    data = load("digits")
    found = measure_tflite(linear(shape), data)
    coloured = data.with_channels(3 if 3 in shape else 1)
    images = coloured.normalize(coloured.test.images).numpy()
    images = images.transpose(0, 2, 3, 1) if 3 in shape else images
    named = (images.reshape(len(images), -1) @ WEIGHTS[:, : images[0].size].T).argmax(1)
    assert found.accuracy.value == np.mean(named == data.test.labels.numpy())
    assert found.n_test == len(data.test) == found.accuracy.n
    assert found.size_bytes == len(linear(shape)) and 0 < found.times.p50_ms <= found.times.p95_ms
    assert dict(found.kernels) == {"RESHAPE": 1, "FULLY_CONNECTED": 1}


def test_codes_go_in_and_out_by_the_files_own_scales():
    data = load("digits")
    found = measure_tflite(quantized(), data)
    images = data.normalize(data.test.images).numpy().reshape(len(data.test), 64)
    assert found.accuracy.value == pytest.approx(
        np.mean((images @ WEIGHTS[:, :64].T).argmax(1) == data.truth), abs=0.03
    )
    if tflite_runs.COUNTS_ARENAS:
        assert 500 < found.arena.size_bytes < 20_000
        assert (found.arena.answered, found.arena.equal) == (100, 1.0)


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "no .tflite file"),
    (b"\x08\0\0\0ONNX" + bytes(64), "no .tflite file"),
    (linear()[:-200], "cannot"),
    (linear()[:40], "LiteRT"),
    (linear((1, 4, 4, 4)), r"does not take images of 8×8.*\[1, 4, 4, 4\]"),
    (linear(operator="MEAN"), "LiteRT cannot load"),
    (linear(classes=3), "3"),
])  # fmt: skip
def test_what_is_no_classifier_of_these_images_is_refused_in_a_sentence(content, sentence):
    with pytest.raises(InvalidFile, match=sentence) as refused:
        measure_tflite(content, load("digits"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])
def test_damaged_files_end_in_a_measurement_or_a_sentence(seed):
    rng, data = random.Random(seed), load("digits")
    for _ in range(3 if seed == 0 else 30):
        with suppress(InvalidFile):
            measure_tflite(damaged_bytes(rng, quantized()), data)


def test_the_arena_of_what_tflm_cannot_run_is_a_reason():
    found = tflite_runs.arena(linear()[:40] + bytes(100))
    assert found.size_bytes is None and found.reason


@pytest.mark.skipif(not tflite_runs.COUNTS_ARENAS, reason="no tflite-micro here")
def test_a_network_larger_than_the_arena_is_told_so():
    file, wide = TfliteFile(), (1, 6000, 6000, 1)
    image, large = file.value((1, 8, 8, 1), Grid(0.1, 0), "x"), file.value(wide, Grid(0.1, 0), "wide")
    beside = file.whole([[0, 0], [0, 5992], [0, 5992], [0, 0]], "padding")
    file.operator("PAD", [image, beside], [large], "PadOptions")
    clipped, last = file.value(wide, Grid(0.1, 0), "clipped"), file.value((1, 1), Grid(0.1, 0), "y")
    file.operator("RELU", [large], [clipped])
    file.operator("MEAN", [clipped, file.whole([1, 2], "axes")], [last], "ReducerOptions", keepDims=False)
    assert tflite_runs.arena(file.finish(image, last)) == Arena(None, "it takes more than 64 MiB")


@pytest.mark.parametrize("told", [{}, {"arena_bytes": None, "reason": ""}, {"arena_bytes": True, "reason": 7}])
def test_an_arena_that_is_not_told_has_a_reason(told, monkeypatch):
    monkeypatch.setattr(tflite_runs, "COUNTS_ARENAS", True)
    monkeypatch.setattr(tflite_runs.confined, "read", lambda *a: (told, b""))
    assert tflite_runs.arena(linear()) == Arena(None, "its kernels refuse it")


def test_floats_have_no_grid_whatever_the_file_says():
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(linear(), 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.name in (b"image", b"scores"):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [9]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    data = load("digits")
    about = tflite_runs.about(bytes(builder.Output()), data.input_shape)
    assert about.image_grid == about.score_grid == (0, 0) and about.score_type == "float32"
    found, _ = tflite_runs.predict(bytes(builder.Output()), data, np.arange(40), 10)
    plain, _ = tflite_runs.predict(linear(), data, np.arange(40), 10)
    assert np.array_equal(found.confidences, plain.confidences) and np.array_equal(found.classes, plain.classes)
