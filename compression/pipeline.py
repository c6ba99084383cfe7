"""A recipe becomes a file, and a file becomes a measurement."""

import copy
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import fx, nn
from torch.export import ExportedProgram

from compression.bookkeeping import Books, parameters, reached
from compression.calibration import Calibration, calibrate
from compression.data import Dataset
from compression.equalize import equalized
from compression.errors import Cancelled, Unsupported, UserError
from compression.export import Exported, export
from compression.export.session import session
from compression.export.stored import settle_scales_
from compression.graph import LAYERS, macs, module_of
from compression.maker import maker
from compression.measure.accuracy import accuracy, join, order, predict
from compression.measure.admission import admit
from compression.measure.intake import fixed_batch
from compression.measure.latency import latency, precise
from compression.measure.machine import this_machine
from compression.methods import METHODS
from compression.methods.recover import Lesson, recover_
from compression.recipe import Recipe
from compression.reconstruct import reconstruct_, settle_batch_norm_
from compression.results import LayerReport, LearningPoint, Ledger, Measurement, Predictions, Reached
from compression.steps import Quantize
from compression.tracing import check_classes, traced
from compression.verification import verify

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]
Learn = Callable[[LearningPoint], None]
FIRST = 2000


@dataclass(frozen=True, eq=False)
class Candidate:
    """An ONNX file and the recipe that made it; `seconds` is what making it took.

    `reached` is what steps that remove something were asked for and did. What stands in the books (`layers`, `ledger`)
    is looked up when somebody asks: whoever waits for a first number does not wait for that too.
    """

    recipe: Recipe
    macs: int
    parameters: int
    seconds: float
    books: Books = field(repr=False)
    images: torch.Tensor = field(repr=False)
    reached: tuple[Reached, ...] = ()

    @property
    def onnx(self) -> bytes:
        """The file."""
        return self.books.exported.onnx

    @cached_property
    def layers(self) -> tuple[LayerReport, ...]:
        """A report for each layer."""
        return self.books.layers(self.images)

    @property
    def ledger(self) -> Ledger:
        """Where the file's bytes went."""
        return self.books.ledger

    @cached_property
    def file_hash(self) -> str:
        """SHA-256 of the file's bytes."""
        return hashlib.sha256(self.onnx).hexdigest()


@dataclass(frozen=True)
class Prepared:
    """What is found out once about a network and a dataset, and used by every recipe after."""

    dense: fx.GraphModule
    data: Dataset
    calibration: Calibration
    baseline: Candidate
    baseline_predictions: Predictions
    baseline_session: ort.InferenceSession


def prepare(
    model: nn.Module | ExportedProgram,
    data: Dataset,
    *,
    seed: int = 0,
    calibration_images: int = 512,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Prepared:
    """Traces `model`, calibrates it on training images, and writes and measures its fp32 file.

    The images get as many channels as the network takes: what is found lies in `Prepared.data`. Raises `InvalidModel`
    where the network does not fit the images or the classes, and `Unsupported` where it uses a layer more than once:
    there are no moments and no fit yet that hold for all its uses. Either where network, graph and file do not answer
    the same about real images.
    """
    say = _reporter(progress, stop)
    say("Tracing the network", 0.0)
    dense, data = traced(model, data)
    check_classes(dense, data)
    _check_uses(dense)
    say("Looking at the calibration images", 0.2)
    calibration = calibrate(dense, data, images=calibration_images, seed=seed)
    recipe = Recipe(seed=seed, calibration_images=calibration_images)
    exported = export(dense, data.input_shape, packed=False)
    baseline = _candidate(dense, exported, recipe, calibration.images, seconds=0.0)
    say("Measuring the fp32 file", 0.4)
    runner = session(baseline.onnx)
    verify(model, dense, runner, calibration.images)
    predictions = predict(runner, data, order(len(data.test)), stop=stop)
    return Prepared(dense, data, calibration, baseline, predictions, runner)


def compress(
    model: nn.Module | ExportedProgram,
    recipe: Recipe,
    data: Dataset,
    *,
    prepared: Prepared | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    learn: Learn | None = None,
    checkpoint: Path | None = None,
) -> Candidate:
    """Applies `recipe` to any classifier and writes the file. The model is left as it was.

    `prepared` (of the same model, data, seed and calibration images) saves tracing and calibration. Where the recipe
    trains, `learn` hears how it goes, and a call that finds the file `checkpoint` of one that was cut off goes on from
    there, to the same file.
    """
    if prepared is None:
        prepared = prepare(
            model, data, seed=recipe.seed, calibration_images=recipe.calibration_images, progress=progress, stop=stop
        )
    return compress_prepared(prepared, recipe, progress=progress, stop=stop, learn=learn, checkpoint=checkpoint)


def compress_prepared(
    prepared: Prepared,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    learn: Learn | None = None,
    checkpoint: Path | None = None,
) -> Candidate:
    """`compress` for a network that is prepared already."""
    begin = time.perf_counter()
    graph = simulate(prepared, recipe, progress=progress, stop=stop, learn=learn, checkpoint=checkpoint)
    exported = export(graph, prepared.data.input_shape)
    seconds = time.perf_counter() - begin
    return _candidate(graph, exported, recipe, prepared.calibration.images, seconds=seconds, dense=prepared.dense)


def simulate(
    prepared: Prepared,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    learn: Learn | None = None,
    checkpoint: Path | None = None,
) -> fx.GraphModule:
    """The compressed network in torch: parametrized weights, settled batch norm, quantized activations."""
    say = _reporter(progress, stop)
    prepared = _equalized(prepared, recipe, say)
    graph, reference, weights = copy.deepcopy(prepared.dense), prepared.dense, prepared.dense
    calibration = prepared.calibration if recipe.quality == "best" else prepared.calibration.hurried
    for i, step in enumerate(recipe.steps):
        say(type(step).title, 0.2 * i / len(recipe.steps))
        method, best = METHODS[step.kind], recipe.quality == "best"
        if method.apply_:
            method.apply_(graph, step, calibration)
        if method.beside and (step.kind == "channels" if best else recipe.steps[i + 1 :] == ()):
            settle_batch_norm_(graph, recipe, calibration)
        if method.beside:  # fast lets later steps answer like the network that this one left
            reference = method.beside(reference, graph) if best else copy.deepcopy(graph)
            weights = copy.deepcopy(graph) if best and step.kind == "factorize" else reference
    say("Fitting the weights", 0.2)
    reconstruct_(graph, reference, recipe, calibration)
    if recipe.get("recover"):
        say("Learning", 0.3)
        _recover_(graph, weights, prepared, recipe, say, learn, stop, checkpoint)
    settle_scales_(graph)
    say("Choosing ranges", 0.8)
    _finish_(graph, recipe, calibration)
    return graph


def practise(prepared: Prepared, setting: str, value: float) -> None:
    """Carries out a recipe of one setting for nobody: what that costs only the first time, nobody waits for later."""
    recipe = Recipe(quality="fast").with_setting(setting, value)
    with suppress(UserError):  # not every network bears every step
        simulate(prepared, recipe)
        for step in recipe.steps:
            if apply_ := METHODS[step.kind].apply_:
                apply_(copy.deepcopy(prepared.dense), step, prepared.calibration)


def _equalized(prepared: Prepared, recipe: Recipe, say: Progress) -> Prepared:
    """The same for the network with evened-out ranges, where the recipe asks for that: it comes before every step."""
    quantize = recipe.get("quantize")
    if not isinstance(quantize, Quantize) or not quantize.equalize:
        return prepared
    say("Equalizing layers", 0.0)
    dense = equalized(prepared.dense, prepared.calibration.images)
    return replace(prepared, dense=dense, calibration=prepared.calibration.of(dense))


def _finish_(graph: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    for step in recipe.steps:
        finish_ = METHODS[step.kind].finish_
        if finish_:
            finish_(graph, step, calibration)


def _recover_(
    graph: fx.GraphModule, weights: fx.GraphModule, prepared: Prepared, recipe: Recipe, say: Progress,
    learn: Learn | None, stop: Stop | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    def told(point: LearningPoint) -> None:
        say(f"Learning, step {point.step:,} of {point.steps:,}", 0.3 + 0.5 * point.step / point.steps)
        if learn:
            learn(point)

    purpose = f"{recipe.whole.hash} {prepared.baseline.file_hash} {maker(recipe, prepared.data.name)}"
    lesson = Lesson(recipe, prepared.dense, prepared.data, prepared.calibration, purpose)
    recover_(
        graph, weights, lesson, lambda copied: _finish_(copied, recipe, prepared.calibration),
        learn=told, stop=stop, checkpoint=checkpoint,
    )  # fmt: skip


def stream(
    candidate: Candidate,
    prepared: Prepared,
    *,
    first: int = FIRST,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Iterator[Measurement]:
    """Measures the file: once on the `first` test images with bytes and latency, then on the full test split."""
    say = _reporter(progress, stop)
    begin = time.perf_counter()
    images = prepared.baseline_predictions.images
    runner = session(candidate.onnx)
    say(f"Answering {min(first, len(images)):,} test images", 0.0)
    found = predict(runner, prepared.data, images[:first], stop=stop)
    say("Timing one image", 0.2)
    timed, base = runner, prepared.baseline_session
    if threads != 1:
        timed, base = session(candidate.onnx, threads=threads), session(prepared.baseline.onnx, threads=threads)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    took = latency(timed, base, image, brief=len(images) > first)
    labels = prepared.data.test.labels.numpy()

    def measurement() -> Measurement:
        seconds = candidate.seconds + time.perf_counter() - begin
        return Measurement(
            recipe_hash=candidate.recipe.hash,
            file_hash=candidate.file_hash,
            accuracy=accuracy(found, prepared.baseline_predictions, labels),
            size_bytes=len(candidate.onnx),
            baseline_size_bytes=len(prepared.baseline.onnx),
            latency=took,
            macs=candidate.macs,
            parameters=candidate.parameters,
            n_test=len(found),
            seconds=seconds,
            machine=this_machine(),
            predictions=found,
            reached=candidate.reached,
        )

    yield measurement()
    if len(images) > first:
        say(f"Answering all {len(images):,} test images", 0.4)
        found = join(found, predict(runner, prepared.data, images[first:], stop=stop))
        took = took if precise(took) else latency(timed, base, image)
        yield measurement()


def measure(
    candidate: Candidate,
    prepared: Prepared,
    *,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Measurement:
    """Measures the file on the full test split."""
    *_, full = stream(candidate, prepared, threads=threads, progress=progress, stop=stop)
    return full


def measure_file(
    onnx: bytes | str | Path,
    data: Dataset,
    *,
    baseline: bytes | str | Path | None = None,
    threads: int = 1,
    stop: Stop | None = None,
) -> Measurement:
    """Measures any classifier's ONNX file that takes `data`'s images, against `baseline` or itself.

    They get as many channels as the file takes, 1 or 3. A file with weights in other files is given by its path, and
    its size is that of all of them. One that takes n images at once is measured n at a time, and so is its latency.
    Raises `InvalidFile` where the file does not load, its input or output does not fit the data, or its scores of an
    image name no class; see `measure.admission`.
    """
    begin = time.perf_counter()
    ours = admit(onnx, data)
    data = data.with_channels(ours.channels)
    theirs = ours if baseline is None else admit(baseline, data)
    runners = [session(file.content, threads=threads) for file in (ours, theirs)]
    images = order(len(data.test))
    found = predict(session(ours.content), data, images, batch=ours.batch, stop=stop)
    expected = found
    if baseline is not None:
        expected = predict(session(theirs.content), data, images, batch=theirs.batch, stop=stop)
    together = max(fixed_batch(runner) or 1 for runner in runners)
    timed = data.normalize(data.test.images[np.arange(together) % len(data.test)]).numpy()
    return Measurement(
        recipe_hash="",
        file_hash=ours.file_hash,
        accuracy=accuracy(found, expected, data.test.labels.numpy()),
        size_bytes=ours.size_bytes,
        baseline_size_bytes=theirs.size_bytes,
        latency=latency(runners[0], runners[1], timed),
        macs=None,
        parameters=None,
        n_test=len(found),
        seconds=time.perf_counter() - begin,
        machine=this_machine(),
        predictions=found,
    )


def _candidate(
    graph: fx.GraphModule, exported: Exported, recipe: Recipe, images: torch.Tensor, *, seconds: float,
    dense: fx.GraphModule | None = None,
) -> Candidate:  # fmt: skip
    counted = macs(graph, tuple(images.shape[1:]))  # type: ignore[arg-type]
    return Candidate(
        recipe, sum(counted.values()), parameters(graph), seconds, Books(graph, exported, counted, dense), images,
        reached(graph, recipe),
    )  # fmt: skip


def _check_uses(dense: fx.GraphModule) -> None:
    uses = Counter(node.target for node in dense.graph.nodes if isinstance(module_of(dense, node), LAYERS))
    for name, times in uses.items():
        if times > 1:
            raise Unsupported(
                f"The network uses its layer {name!r} {times} times for an image; at most once is allowed."
            )


def _reporter(progress: Progress | None, stop: Stop | None) -> Progress:
    """Says what happens and how far it is; raises `Cancelled` where the work was stopped."""

    def say(sentence: str, share: float) -> None:
        if stop and stop():
            raise Cancelled("The work was stopped.")
        if progress:
            progress(sentence, share)

    return say
