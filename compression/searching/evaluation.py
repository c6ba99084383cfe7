"""What a worker does for one trial: simulate, a file on some validation images, then on all; cut where that is clear.

The test split is not touched: `on_test_images` reads it for the points of the final front, once.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from compression.calibration import divergence
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, order, predict
from compression.measure.latency import latency
from compression.measure.memory import activations
from compression.network.graph import layers
from compression.pipeline.candidate import Answers, Candidate, Prepared
from compression.pipeline.compress import candidate_of, simulate
from compression.recipe import Recipe
from compression.records.measurement import Latency, Measurement, Predictions
from compression.records.search import Found, Stage
from compression.searching.allocation import Harms
from compression.searching.rounds import Bar, Sketch
from compression.steps import Quantize
from compression.techniques.quantization.bit_widths import harms, layer_sizes

SOME = 500
"""Validation images of the second round."""

Stop = Callable[[], bool]


class HeldOut(NamedTuple):
    """A prepared network with its validation images in the place of the test images, and the fp32 file's answers.

    `tests` is how many test images there are.
    """

    prepared: Prepared
    labels: np.ndarray
    tests: int


class Evaluated(NamedTuple):
    """What came of a trial: a sketch; its figures where a file was tried; the file and its measurement if complete."""

    sketch: Sketch
    cut: str
    stage: Stage
    found: Found | None
    candidate: Candidate | None
    measurement: Measurement | None


_held_out: WeakKeyDictionary[Prepared, HeldOut] = WeakKeyDictionary()


def held_out(prepared: Prepared) -> HeldOut:
    """The validation images to choose by. Without labels the fp32 file's answers take their place."""
    if prepared not in _held_out:
        data = replace(prepared.data, test=prepared.choosing.validation)
        theirs = replace(prepared, data=data, answers=Answers(prepared.baseline_session, data))
        _held_out[prepared] = HeldOut(theirs, data.test.labels.numpy(), len(prepared.data.test))
    return _held_out[prepared]


def found_harms(prepared: Prepared) -> Harms:
    """What bits do to each layer of the dense network; see `allocation`."""
    graph = prepared.dense
    names = list(layers(graph))
    return Harms(harms(graph, Quantize(weight_bits=4), prepared.calibration, names), layer_sizes(graph, names))


def evaluate(prepared: Prepared, recipe: Recipe, bar: Bar, *, threads: int = 1, stop: Stop | None = None) -> Evaluated:
    """Carries out a recipe as far as it is promising. Raises `UserError` where the network does not bear it."""
    begin = time.perf_counter()
    graph = simulate(prepared, recipe, stop=stop)
    candidate = candidate_of(prepared, graph, recipe, begin)
    sketch = Sketch(
        divergence(graph, prepared.calibration), len(candidate.onnx), candidate.macs, _activation_bits(recipe)
    )
    if why := bar.cuts(sketch):
        return Evaluated(sketch, why, "simulated", None, None, None)
    held = held_out(prepared)
    images, runner = order(len(held.labels)), session(candidate.onnx)
    first = predict(runner, held.prepared.data, images[:SOME], stop=stop)
    found = _found(held, first, sketch)
    if why := bar.cuts_file(sketch, found):
        return Evaluated(sketch, why, "some images", found, None, None)
    answers = predict(runner, held.prepared.data, images, stop=stop) if len(images) > SOME else first
    took = _latency(candidate, prepared, threads)
    memory = activations(candidate.onnx, prepared.data.input_shape).peak_bytes
    found = replace(
        _found(held, answers, sketch), latency_ratio=took.ratio, latency_ms=took.p50_ms, memory_bytes=memory
    )
    measurement = _measurement(held, candidate, answers, took, time.perf_counter() - begin)
    return Evaluated(sketch, "", "all images", found, candidate, measurement)


def on_test_images(prepared: Prepared, onnx: bytes, earlier: Measurement, *, stop: Stop | None = None) -> Measurement:
    """The measurement of a file of the final front on the test split, timed anew and precisely."""
    found = predict(session(onnx), prepared.data, prepared.baseline_predictions.images, stop=stop)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    threads = earlier.latency.threads if earlier.latency else 1
    ours, theirs = (session(file, threads=threads) for file in (onnx, prepared.baseline.onnx))
    return replace(
        earlier, accuracy=accuracy(found, prepared.baseline_predictions, prepared.data.truth), n_test=len(found),
        latency=latency(ours, theirs, image), predictions=found, machine=this_machine(),
    )  # fmt: skip


def _found(held: HeldOut, answers: Predictions, sketch: Sketch) -> Found:
    n = len(answers)
    labels, base = held.labels[answers.images], held.prepared.baseline_predictions.classes[:n]
    right = answers.classes == labels
    recalls = [float(right[labels == c].mean()) for c in np.unique(labels)]
    return Found(
        drop=float((base == labels).mean() - right.mean()), agreement=float((answers.classes == base).mean()),
        worst_class=min(recalls), size_bytes=sketch.size_bytes, macs=sketch.macs, divergence=sketch.divergence,
        images=n, accuracy=float(right.mean()),
    )  # fmt: skip


def _latency(candidate: Candidate, prepared: Prepared, threads: int) -> Latency:
    """A brief one: of many trials most are not looked at again."""
    image = prepared.data.normalize(prepared.data.train.images[:1]).numpy()
    base = prepared.baseline_session if threads == 1 else session(prepared.baseline.onnx, threads=threads)
    return latency(session(candidate.onnx, threads=threads), base, image, brief=True)


def _measurement(
    held: HeldOut, candidate: Candidate, answers: Predictions, took: Latency, seconds: float
) -> Measurement:
    """What the store keeps of a trial: its accuracy is said to be one on validation images."""
    labels = held.labels if held.prepared.data.labelled else None
    found = replace(accuracy(answers, held.prepared.baseline_predictions, labels), split="validation")
    return Measurement(
        recipe_hash=candidate.recipe.hash, file_hash=candidate.file_hash, accuracy=found,
        size_bytes=len(candidate.onnx), baseline_size_bytes=len(held.prepared.baseline.onnx), latency=took,
        macs=candidate.macs, parameters=candidate.parameters, n_test=held.tests, seconds=seconds,
        machine=this_machine(), predictions=Predictions(*(part[:0] for part in _parts(answers))),
        reached=candidate.reached,
    )  # fmt: skip


def _parts(answers: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return answers.images, answers.classes, answers.confidences


def _activation_bits(recipe: Recipe) -> int:
    return int(getattr(recipe.get("quantize"), "activation_bits", 32))
