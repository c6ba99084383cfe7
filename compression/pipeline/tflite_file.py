"""A compressed network as a `.tflite` file, and what LiteRT and TensorFlow Lite Micro make of any such file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import fx

from compression.data import Dataset, for_outputs
from compression.errors import InvalidData, InvalidFile, InvalidSetting
from compression.export.tflite import Form, export
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure import accuracy, tflite_runs
from compression.measure.admission import admit, file_content
from compression.measure.intake import check_scores
from compression.pipeline.candidate import Candidate, Prepared
from compression.recipe import Recipe
from compression.records.measurement import Predictions, order
from compression.records.tflite import TfliteMeasurement

MOST_BYTES = 512 << 20


def in_integers(recipe: Recipe) -> Recipe:
    """The recipe with all that can compute on codes doing so. Raises `InvalidSetting` where activations are floats."""
    quantize = recipe.get("quantize")
    if quantize is None or quantize.activation_bits != 8:  # type: ignore[attr-defined]
        raise InvalidSetting(
            "A .tflite file for microcontrollers computes in integers: it needs "
            "--set quantize.activation_bits=8, and quantize.weight_bits of at most 8."
        )
    return recipe.with_setting("quantize.placement", "everywhere")


def form_of(recipe: Recipe, in_4_bits: bool = False) -> Form:
    """The form of a recipe's file: floats where activations are, else whole numbers.

    Raises `InvalidSetting` for weights in 4 bits where the recipe has others.
    """
    quantize = recipe.get("quantize")
    integers = quantize is not None and quantize.activation_bits == 8  # type: ignore[attr-defined]
    if in_4_bits and not (integers and quantize.weight_bits <= 4):  # type: ignore[union-attr]
        raise InvalidSetting(
            "A .tflite file with weights in 4 bits needs --set quantize.weight_bits=4 (or less), and "
            "quantize.activation_bits=8."
        )
    return "int4" if in_4_bits else "int8" if integers else "float"


def measured(candidate: Candidate, prepared: Prepared, form: Form = "int8") -> tuple[bytes, TfliteMeasurement]:
    """The file of a candidate, with its measurement on all test images. Raises `Unsupported` as `export` does."""
    return written(candidate.books.graph, prepared, candidate.onnx, form)


def written(
    graph: fx.GraphModule, prepared: Prepared, onnx: bytes, form: Form = "int8"
) -> tuple[bytes, TfliteMeasurement]:
    """The file of a compressed `graph`, measured on all test images beside an ONNX file of our own."""
    data = prepared.data
    content = export(graph, data.input_shape, prepared.calibration.images, form)
    about = tflite_runs.about(content, data.input_shape)
    expected = accuracy.predict(session(onnx), data, order(len(data.test)))
    fp32 = prepared.answers.first(len(data.test), None)
    return content, _measurement(content, data, about, expected, fp32)


def measure_tflite(
    tflite: bytes | str | Path,
    data: Dataset,
    *,
    baseline: bytes | str | Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> TfliteMeasurement:
    """Measures any classifier's `.tflite` file that takes `data`'s images, in grey or colours, channels last or first.

    It takes float32 as `data` is normalized, or codes of that in int8 or uint8. `baseline` is an ONNX file to compare
    with, whose answers take the labels' place where there are none. Raises `InvalidFile` where LiteRT does not load the
    file or answer with it within limits of memory and seconds, or where it is no classifier of these images, and
    `InvalidData` as `measure_file` does.
    """
    content = tflite if isinstance(tflite, bytes) else file_content(Path(tflite), ".tflite", MOST_BYTES)
    if not data.labelled and baseline is None:
        raise InvalidData(
            f"{data.title} has no labels, so a file can only be compared with another one; name its fp32 ONNX file as"
            " the baseline."
        )
    about = tflite_runs.about(content, data.input_shape)
    data = for_outputs(data.with_channels(about.channels), about.classes)
    check_scores((1, about.classes), 1, max(2, len(data.classes)))
    return _measurement(content, data, about, _answers(baseline, data, stop), stop=stop)


def _answers(baseline: bytes | str | Path | None, data: Dataset, stop: Callable[[], bool] | None) -> Predictions | None:
    if baseline is None:
        return None
    theirs = admit(baseline, data)
    if theirs.channels != data.input_shape[0]:
        raise InvalidFile("The baseline takes images of another number of channels than the .tflite file.")
    return accuracy.predict(session(theirs.content), data, order(len(data.test)), batch=theirs.batch, stop=stop)


def _measurement(
    content: bytes,
    data: Dataset,
    about: tflite_runs.About,
    expected: Predictions | None,
    fp32: Predictions | None = None,
    stop: Callable[[], bool] | None = None,
) -> TfliteMeasurement:
    """`expected` is what the answers are compared with; `fp32` takes the labels' place where there are none."""
    found, times = tflite_runs.predict(content, data, order(len(data.test)), about.classes, stop)
    equal = None if expected is None else float(np.mean(found.classes == expected.classes))
    right = accuracy.accuracy(found, fp32 or expected or found, data.truth)
    arena = tflite_runs.arena(content, about, data, found)
    return TfliteMeasurement(
        len(content), len(found), right, equal, times, arena, tuple(about.kernels.items()), this_machine()
    )
