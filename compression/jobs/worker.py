"""What happens in a worker's process: one request in, measurements out.

Importing this module is cheap, as the scheduler and the nanny do it too: torch is loaded only where work is done.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from distributed import get_worker

from compression.errors import Cancelled, UserError
from compression.host.machine_lock import work_turn, yield_turn
from compression.jobs.channel import Stop, TaskChannel
from compression.jobs.lru_cache import LruCache
from compression.jobs.messages import Baseline, Outcome, Refusal, Request
from compression.models.provenance import producer_id
from compression.recipe import Recipe
from compression.records.measurement import Measurement, Predictions
from compression.steps import STEPS
from compression.store.records import Subject

if TYPE_CHECKING:
    from compression.data import Dataset
    from compression.data.preparing import Progress
    from compression.models import Card
    from compression.pipeline.candidate import Candidate, Prepared

V = TypeVar("V")


PREVIEW = "measured on the file of the fast setting"
"""Provenance of the point that is shown while the best setting still works."""


WARM_UP_SETTINGS = {f"{s.kind}.{name}": value for s in reversed(STEPS.values()) for name, value in s.warm_up.items()}
"""Settings that an idle worker compresses a new network with, so that their caches are filled before a user asks."""


UNTRAINED = "measured on a file before training"
"""Provenance of the point that is shown while a network still learns."""


_prepared: LruCache["Prepared"] = LruCache(2)


_loading = threading.Lock()


def load() -> None:
    """Loads the engine. One thread does: of two that import modules of one package at once, one may meet half of it."""
    with _loading:
        import_module("compression.pipeline.compress")


def run_task(task: Callable[..., V], *about: Any) -> V:
    """What Dask runs of all that is sent here: `task(*about)`, when the engine is there."""
    load()
    return task(*about)


def run_question(question: Callable[..., V], *about: Any) -> V:
    """What Dask runs of a question that a user waits for: trainings and latency measurements pause meanwhile."""
    with work_turn(quick=True):
        return question(*about)


def run_watched(question: Callable[..., V], topic: str, id: str, *about: Any) -> V:
    """What Dask runs of a question that takes long: its progress goes to `topic`, and it is stopped when cancelled.

    Trainings go on meanwhile: most of it is waiting for a download.
    """
    channel = task_channel(topic, id).throttled(0.2)

    def stop() -> bool:
        yield_turn(channel.stop)
        return channel.stop()

    with work_turn():
        return question(*about, progress=channel.progress, stop=stop)


def run(request: Request, topic: str, job: str) -> Outcome | Refusal:
    """The task that Dask runs for a job that a user waits for. Its events go to `topic`; each names its `job`."""
    channel = task_channel(topic, job)

    def stop() -> bool:
        yield_turn(channel.stop)
        return channel.stop()

    def task() -> Outcome:
        known = edition(request)  # before: what is changed meanwhile is not what was measured
        return replace(work(request, channel._replace(stop=stop)), edition=known)

    with work_turn(quick=True):
        return refusal_on_error(task)


def task_channel(topic: str, job: str) -> TaskChannel:
    """The channel of the task that runs here: its events go to `topic`, and each names its `job`."""
    worker = get_worker()
    key = worker.get_current_task()

    def tell(kind: str, **news: Any) -> None:
        worker.log_event(topic, {"job": job, "kind": kind, **news})

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return TaskChannel(tell, cancelled)


def refusal_on_error(task: Callable[[], V]) -> V | Refusal:
    """What `task` returns, or why it returns nothing."""
    try:
        return task()
    except Cancelled:
        return Refusal("")
    except UserError as error:
        return Refusal(str(error))


def work(request: Request, channel: TaskChannel, checkpoint: Path | None = None) -> Outcome:
    """Makes and measures the file. A training resumes from `checkpoint` where that is there."""
    channel = channel.throttled()
    channel.progress("Loading the engine", 0.0)
    recipe = Recipe.from_json(request.recipe)
    prepared = _prepare(request, recipe, channel)
    channel.baseline(_baseline(prepared))
    task = Task(request, prepared, channel, checkpoint)
    if (preview := _preview_recipe(recipe)) and not (checkpoint and checkpoint.exists()):
        first = next(iter(_measurements(task, preview)))[1]
        provenance = UNTRAINED if recipe.get("recover") else PREVIEW
        channel.measured(replace(first, provenance=provenance), full=False)
    for file, measurement in _measurements(task, recipe):
        channel.measured(measurement, full=measurement.accuracy.n == len(prepared.data.test))
        channel.progress("Measuring on the rest of the test images", 0.95)
        made = file, measurement
    return outcome(request, prepared, *made)


def measure_baseline(request: Request) -> Outcome | Refusal:
    """The plain fp32 file of the request's network, as it is kept beside the compressed ones."""
    with work_turn(quick=True):
        return refusal_on_error(lambda: baseline_outcome(request, prepared(request)))


def warm_caches(request: Request, setting: str) -> None:
    """One of `WARM_UP_SETTINGS` on the request's network, so that no user waits for what is computed once.

    Does nothing where that fails, for example as the network is gone: a job with this setting says so.
    """
    from compression.pipeline import compress

    with work_turn(quick=True), suppress(UserError):
        compress.warm_caches(prepared(request), setting, WARM_UP_SETTINGS[setting])


def import_network(
    content: bytes, name: str, dataset: str, mean: str, std: str, *, progress: "Progress | None" = None,
    stop: Stop | None = None,
) -> "Card | Refusal":  # fmt: skip
    """Takes the network in a `.pt2` file's `content` into the list, by `name`; see `models.bring`.

    `mean` and `std` say how its images are normalised; an empty text is the dataset's own.
    """
    from compression import data, models

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"  # the name is not known to be one yet

        def task() -> "Card":
            images = data.load(dataset, progress=progress, stop=stop)
            if progress:
                progress("Reading the network, and trying it on the images", 0.8)
            texts = mean.strip() or None, std.strip() or None
            images = data.normalized(images, *texts, titles=("The mean", "The standard deviation"))
            path.write_bytes(content)
            return models.bring(path, name, images)

        found = refusal_on_error(task)
    return Refusal(found.sentence.replace(str(path), f"{name}.pt2")) if isinstance(found, Refusal) else found


def baseline_outcome(request: Request, prepared: "Prepared", subject: Subject | None = None) -> Outcome:
    """The fp32 file and its measurement, timed against itself. `subject` names weights other than the request's."""
    from compression.host.machine import this_machine
    from compression.host.onnx_runtime import session
    from compression.measure.latency import latency

    file, found, baseline = prepared.baseline, prepared.baseline_predictions, _baseline(prepared)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    runner = session(file.onnx, threads=request.threads)
    measurement = Measurement(
        recipe_hash=file.recipe.hash, file_hash=file.file_hash, accuracy=baseline.accuracy, size_bytes=len(file.onnx),
        baseline_size_bytes=len(file.onnx), latency=latency(runner, runner, image), macs=file.macs,
        parameters=file.parameters, n_test=len(found), seconds=0.0, machine=this_machine(), predictions=found,
    )  # fmt: skip
    return replace(outcome(request, prepared, file, measurement, subject), role="baseline")


def outcome(
    request: Request, prepared: "Prepared", file: "Candidate", measurement: Measurement, subject: Subject | None = None
) -> Outcome:
    """A measured file as it is kept. `subject` names weights other than the request's."""
    named = request.model, request.weights, request.dataset
    about = subject or Subject(*named, _weights(request), prepared.data.fingerprint)
    return Outcome(
        file.onnx, measurement, _baseline(prepared), file.layers, file.ledger, about, file.recipe.to_json(),
        producer_id(file.recipe, prepared.data.name),
    )  # fmt: skip


def _preview_recipe(recipe: Recipe) -> Recipe | None:
    """A recipe that soon gives a first idea of what this one leads to; None where it is quick itself."""
    sketch = recipe.untrained.with_setting("quality", "fast")
    return None if sketch == recipe or not recipe.steps else sketch


class Task(NamedTuple):
    """One request on its way: what its recipes share, whom to tell, and where a training is kept meanwhile."""

    request: Request
    prepared: "Prepared"
    channel: TaskChannel
    checkpoint: Path | None


def _measurements(task: Task, recipe: Recipe) -> Iterator[tuple["Candidate", Measurement]]:
    """The file of `recipe` and what is found out about it, first roughly, then fully."""
    from compression.pipeline import compress, measuring

    channel = task.channel
    candidate = compress.compress_prepared(
        task.prepared, recipe,
        progress=channel.progress, stop=channel.stop, learn=channel.learned, checkpoint=task.checkpoint,
    )  # fmt: skip
    channel.progress("Measuring the file", 0.9)
    for measurement in measuring.stream(candidate, task.prepared, threads=task.request.threads, stop=channel.stop):
        yield candidate, measurement


def _baseline(prepared: "Prepared") -> Baseline:
    from compression.measure.accuracy import accuracy

    predictions, labels = prepared.baseline_predictions, prepared.data.truth
    file = prepared.baseline
    found = accuracy(predictions, predictions, labels)
    return Baseline(found, len(file.onnx), file.macs, file.parameters, prepared.data.notes)


def _prepare(request: Request, recipe: Recipe, channel: TaskChannel) -> "Prepared":
    """What all recipes for one network and dataset share. It is not stopped half-way: the next request wants it too."""
    from compression import models
    from compression.measure.channel_multiple import rounding
    from compression.pipeline import compress

    def pause() -> bool:
        channel.stop()
        return False

    def make() -> "Prepared":
        channel.progress("Loading images", 0.0)
        data = images(request, channel.progress, pause)
        model = models.network(request.model, request.weights)
        made = compress.prepare(
            model, data,
            seed=recipe.seed, calibration_images=recipe.calibration_images, progress=channel.progress, stop=pause,
        )  # fmt: skip
        channel.progress("Timing small layers, once on this machine", 0.6)
        rounding()
        return made

    named = (request.model, request.weights, request.dataset)
    return _prepared.get((*named, edition(request), recipe.seed, recipe.calibration_images), make)


def edition(request: Request) -> tuple[str, str]:
    """What the request's names stand for now: weights may be trained anew, and a folder's images be others.

    To look through a folder of 20,000 images takes 0.07 s.
    """
    from compression import data, models
    from compression.data import class_names

    card = models.card(request.model, request.weights)
    said = class_names.state(data.names_of(card.classes, card.class_names), request.dataset)
    return f"{card.sha256}{card.reading}", f"{data.edition(request.dataset)}{said}"


def _weights(request: Request) -> str:
    """SHA-256 of the stored weights."""
    from compression import models

    return models.card(request.model, request.weights).sha256


def prepared(request: Request, stop: Stop | None = None) -> "Prepared":
    """What all recipes for the request's network and dataset share, without events."""
    silent = TaskChannel(lambda kind, **news: None, stop or (lambda: False))
    return _prepare(request, Recipe.from_json(request.recipe), silent)


def images(request: Request, progress: "Progress | None" = None, stop: Stop | None = None) -> "Dataset":
    """The images, made as the network takes them, with its outputs as classes."""
    from compression import data, models
    from compression.models.images import images_for

    if request.weights == request.dataset:
        return data.load(request.dataset, progress=progress, stop=stop)
    card = models.card(request.model, request.weights)
    return images_for(card, request.dataset, progress=progress, stop=stop)


def without_predictions(measurement: Measurement) -> Measurement:
    """The same numbers without the prediction for each image; charts need none."""
    kept = measurement.predictions
    return replace(measurement, predictions=Predictions(kept.images[:0], kept.classes[:0], kept.confidences[:0]))


def warm_up(worker: Any) -> None:
    """Dask calls this in the worker. The engine's libraries take seconds to load: begin before anybody asks."""
    threading.Thread(target=load, name="warm-up", daemon=True).start()
