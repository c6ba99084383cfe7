"""A recipe becomes a file, and a file becomes a measurement."""

import copy
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from compression.calibration import Calibration, calibrate
from compression.calibration.batch_norm import settle_batch_norm_
from compression.data import Dataset
from compression.errors import UserError
from compression.export import Exported, export
from compression.host.interruption import interruptible
from compression.host.onnx_runtime import session
from compression.host.process_memory import enough_memory, give_back, keep_freed
from compression.models.provenance import producer_id
from compression.network.batches import are_large
from compression.network.graph import macs
from compression.network.storage import settle_scales_
from compression.network.tracing import fit_classes, traced
from compression.pipeline.candidate import FIRST, Answers, Candidate, Learn, Prepared, Progress, Reporter, Stop
from compression.pipeline.layer_reports import LayerReports, parameters, reached
from compression.pipeline.placing import FOUND, placed
from compression.pipeline.verification import verify
from compression.recipe import Recipe
from compression.records.measurement import OPERATORS, LearningPoint, Reached, wilson
from compression.steps import Quantize, Step
from compression.techniques import Technique, techniques_of
from compression.techniques.reconstruction import reconstruct_
from compression.techniques.technique import TrainingContext

ANSWERS_S = 4.0
"""Seconds in which the fp32 file answers the first test images before any other file does; the others follow beside
theirs."""

FEW = 100
"""Images: fewer, for calibration or for testing, are told."""


@enough_memory()
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
    where the network does not fit the images or the classes, and that or `Unsupported` where network, graph and file do
    not answer the same about real images.
    """
    keep_freed()
    say = Reporter(progress, stop)
    say("Tracing the network", 0.0)
    dense, data = traced(model, data)
    data = _with_notes(fit_classes(dense, data).with_validation(), calibration_images)
    with say.stage("Calibrating", 0.2, 0.4):
        calibration = calibrate(dense, data, images=calibration_images, seed=seed)
    if are_large(calibration.images):
        give_back(unreachable=True)
    recipe = Recipe(seed=seed, calibration_images=calibration_images)
    exported = export(dense, data.input_shape, packed=False)
    baseline = _candidate(dense, exported, recipe, calibration.images, seconds=0.0)
    say("Measuring the fp32 file", 0.4)
    runner = session(baseline.onnx)
    verify(model, dense, runner, calibration.images)
    answers = Answers(runner, data)
    answers.ask(ANSWERS_S, stop, most=FIRST)
    return Prepared(dense, data, calibration, baseline, answers, runner)


def _with_notes(data: Dataset, calibration_images: int) -> Dataset:
    """Says where there are so few images that they tell little; see `FEW`."""
    notes, calibrated, n = [], min(calibration_images, len(data.train)), len(data.test)
    if calibrated < min(FEW, calibration_images):
        notes.append(
            f"Calibrated on only {calibrated} images, all available: enough for value ranges, few for fitting weights."
        )
    if n < FEW:
        what = "accuracy" if data.labelled else "agreement"
        reach = wilson(n, n).low
        notes.append(f"With {n} test images, {what} of 100% only says that it is above {reach:.0%} (95%).")
    return replace(data, notes=(*data.notes, *notes))


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


@enough_memory()
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
    return candidate_of(prepared, graph, recipe, begin)


def candidate_of(prepared: Prepared, graph: fx.GraphModule, recipe: Recipe, begin: float) -> Candidate:
    """The file of a simulated network; its seconds are those since `begin`, by `time.perf_counter`."""
    exported = export(graph, prepared.data.input_shape)
    if are_large(prepared.calibration.images):
        give_back(unreachable=True)
    seconds = time.perf_counter() - begin
    return _candidate(graph, exported, recipe, prepared.calibration.images, seconds=seconds, dense=prepared.dense)


@enough_memory()
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
    with interruptible(stop):
        return _simulated(prepared, recipe, progress, stop, learn, checkpoint)


def _simulated(
    prepared: Prepared,
    recipe: Recipe,
    progress: Progress | None,
    stop: Stop | None,
    learn: Learn | None,
    checkpoint: Path | None,
) -> fx.GraphModule:
    say, best = Reporter(progress, stop), recipe.quality == "best"
    recipe, placement = placed(prepared, recipe, say)
    techniques = techniques_of(recipe)
    prepared = _with_dense(prepared, techniques, say)
    graph, reference, weights = copy.deepcopy(prepared.dense), prepared.dense, prepared.dense
    calibration = prepared.calibration if best else prepared.calibration.fast_variant
    large = are_large(calibration.images)
    for i, (technique, step) in enumerate(techniques):
        with say.stage(type(step).title, 0.2 * i / len(techniques), 0.2 * (i + 1) / len(techniques)):
            if technique.apply_:
                technique.apply_(graph, step, calibration)
        if technique.reshapes:
            if technique.reference_for is None if best else step is recipe.steps[-1]:
                settle_batch_norm_(graph, recipe, calibration)
            weights = copy.deepcopy(graph)  # fast lets later steps answer like the network that this one left
            reference = technique.reference_for(reference, graph) if best and technique.reference_for else weights
        if large:
            give_back(unreachable=True)
    with say.stage("Fitting the weights", 0.2, 0.3 if any(technique.train_ for technique, _ in techniques) else 0.8):
        reconstruct_(graph, reference, recipe, calibration)
    if large:
        give_back(unreachable=True)
    for technique, step in techniques:
        if technique.train_:
            say("Learning", 0.3)
            context = _training_context(prepared, recipe, say, learn, stop, checkpoint)
            technique.train_(graph, weights, step, context)
    settle_scales_(graph)
    say("Choosing ranges", 0.8)
    _finish_(graph, recipe, calibration)
    graph.meta[FOUND] = placement
    return graph


def warm_caches(prepared: Prepared, setting: str, value: float) -> None:
    """Runs a recipe of one setting and drops the result: its first run fills caches, before a user asks for one."""
    recipe = Recipe(quality="fast").with_setting(setting, value)
    with suppress(UserError):  # not every network bears every step
        simulate(prepared, recipe)
        for technique, step in techniques_of(recipe):
            if apply_ := technique.apply_:
                apply_(copy.deepcopy(prepared.dense), step, prepared.calibration)


def _with_dense(prepared: Prepared, techniques: list[tuple[Technique, Step]], say: Progress) -> Prepared:
    """The same for the network that the recipe's techniques compress in place of the dense one, if they do."""
    dense = prepared.dense
    for technique, step in techniques:
        if technique.prepare:
            dense = technique.prepare(dense, step, prepared.calibration.images, say)
    if dense is prepared.dense:
        return prepared
    return replace(prepared, dense=dense, calibration=prepared.calibration.of(dense))


def _finish_(graph: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    for technique, step in techniques_of(recipe):
        if technique.finish_:
            technique.finish_(graph, step, calibration)


def _training_context(
    prepared: Prepared, recipe: Recipe, say: Progress, learn: Learn | None, stop: Stop | None, checkpoint: Path | None
) -> TrainingContext:
    def told(point: LearningPoint) -> None:
        say(f"Training, step {point.step:,} of {point.steps:,}", 0.3 + 0.5 * point.step / point.steps)
        if learn:
            learn(point)

    purpose = f"{recipe.whole.hash} {prepared.baseline.file_hash} {producer_id(recipe, prepared.data.name)}"
    return TrainingContext(
        recipe, prepared.dense, prepared.data, prepared.calibration, purpose,
        lambda copied: _finish_(copied, recipe, prepared.calibration), told, stop, checkpoint,
    )  # fmt: skip


def _placement(graph: fx.GraphModule) -> tuple[Reached, ...]:
    """Which operators compute in integers, where that was measured and there was a choice."""
    found = graph.meta.get(FOUND)
    if found is None or not found.ratios:
        return ()
    names = found.operators
    share = 1.0 if names is None else len(names) / found.of
    return (Reached(Quantize.kind, OPERATORS, None, share, found.told, names or ()),)


def _candidate(
    graph: fx.GraphModule, exported: Exported, recipe: Recipe, images: torch.Tensor, *, seconds: float,
    dense: fx.GraphModule | None = None,
) -> Candidate:  # fmt: skip
    counted = macs(graph, tuple(images.shape[1:]))  # type: ignore[arg-type]
    return Candidate(
        recipe, sum(counted.values()), parameters(graph), seconds,
        LayerReports(graph, exported, counted, dense), images, (*reached(graph, recipe), *_placement(graph)),
    )  # fmt: skip
