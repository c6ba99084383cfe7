"""What happens in a worker's process: one request in, measurements out.

Importing this module is cheap, as the scheduler and the nanny do it too: torch is loaded only where work is done.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from distributed import get_worker

from compression.errors import Cancelled, UserError
from compression.host.machine_lock import work_turn, yield_turn
from compression.models.provenance import producer_id
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint, Measurement, Predictions
from compression.store.records import Subject

if TYPE_CHECKING:
    from compression.data import Dataset
    from compression.models import Card
    from compression.pipeline.candidate import Candidate, Prepared
from compression.jobs.messages import Baseline, Outcome, Refusal, Request

V = TypeVar("V")


Tell = Callable[..., None]


Stop = Callable[[], bool]


PREVIEW = "measured on the file of the fast setting"
"""Provenance of the point that is shown while the best setting still works."""


PRACTICE = {
    "quantize.weight_bits": 4, "prune.sparsity": 0.5, "channels.amount": 0.3, "share.entries": 16,
    "factorize.amount": 0.3,
}  # fmt: skip
"""What a worker carries out for nobody, once it knows a network and has nothing else to do."""


UNTRAINED = "measured on a file before training"
"""Provenance of the point that is shown while a network still learns."""


class Recent(Generic[V]):
    """The `size` values that were used last; of threads that want the same one, one makes it and the others wait."""

    def __init__(self, size: int):
        self._size = size
        self._values: OrderedDict[Any, V] = OrderedDict()
        self._makers: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], V]) -> V:
        """The value kept for `key`, or a new one."""
        with self._lock:
            maker = self._makers.setdefault(key, threading.Lock())
        with maker:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._size:
                        self._values.popitem(last=False)
                return value
            finally:
                with self._lock:
                    self._makers.pop(key, None)  # who comes now finds the value, or makes it


_prepared: Recent["Prepared"] = Recent(2)


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
    """What Dask runs of a question whose answer a user waits for: trainings make way, and nobody takes the time."""
    with work_turn(quick=True):
        return question(*about)


def run(request: Request, topic: str, job: str) -> Outcome | Refusal:
    """The task that Dask runs for a user who waits. News go out as events on `topic`; each names its `job`."""
    tell, cancelled = task_channel(topic, job)

    def stop() -> bool:
        yield_turn(cancelled)
        return cancelled()

    def task() -> Outcome:
        known = edition(request)  # before: what is changed meanwhile is not what was measured
        return replace(work(request, tell, stop), edition=known)

    with work_turn(quick=True):
        return refusal_on_error(task)


def task_channel(topic: str, job: str) -> tuple[Tell, Stop]:
    """How the task that runs here tells its news, and how it learns that nobody wants it any more."""
    worker = get_worker()
    key = worker.get_current_task()

    def tell(kind: str, **news: Any) -> None:
        worker.log_event(topic, {"job": job, "kind": kind, **news})

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return tell, cancelled


def refusal_on_error(task: Callable[[], V]) -> V | Refusal:
    """What `task` returns, or why it returns nothing."""
    try:
        return task()
    except Cancelled:
        return Refusal("")
    except UserError as error:
        return Refusal(str(error))


def work(request: Request, tell: Tell, stop: Stop, checkpoint: Path | None = None) -> Outcome:
    """Makes and measures the file. A training goes on from `checkpoint` where that is there."""
    progress = _paced(lambda sentence, share: tell("progress", sentence=sentence, share=share))
    progress("Loading the engine", 0.0)
    recipe = Recipe.from_json(request.recipe)
    prepared = _prepare(request, recipe, progress, stop)
    tell("baseline", baseline=asdict(_baseline(prepared)))
    course = Course(request, prepared, progress, stop, lambda point: tell("learned", point=asdict(point)), checkpoint)
    if (sketch := _sketch(recipe)) and not (checkpoint and checkpoint.exists()):
        preview = next(iter(_measurements(course, sketch)))[1]
        provenance = UNTRAINED if recipe.get("recover") else PREVIEW
        tell("measured", full=False, measurement=replace(preview, provenance=provenance).to_plain())
    for file, measurement in _measurements(course, recipe):
        full = measurement.accuracy.n == len(prepared.data.test)
        tell("measured", full=full, measurement=measurement.to_plain())
        progress("Measuring on the rest of the test images", 0.95)
        made = file, measurement
    return outcome(request, prepared, *made)


def base(request: Request) -> Outcome | Refusal:
    """The plain fp32 file of the request's network, as it is kept beside the compressed ones."""
    with work_turn(quick=True):
        return refusal_on_error(lambda: plain(request, prepared(request)))


def warm_caches(request: Request, setting: str) -> None:
    """One of `PRACTICE` on the request's network, so that no user waits for what is found out only once.

    Where that cannot be, as the network is gone meanwhile, whoever asks for it is told.
    """
    from compression.pipeline import compress

    with work_turn(quick=True), suppress(UserError):
        compress.warm_caches(prepared(request), setting, PRACTICE[setting])


def import_network(content: bytes, name: str, dataset: str, mean: str, std: str) -> "Card | Refusal":
    """Takes the network in a `.pt2` file's `content` into the list, by `name`; see `models.bring`.

    `mean` and `std` say how its images are normalised; an empty text is the dataset's own.
    """
    from compression import data, models

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"  # the name is not known to be one yet

        def task() -> "Card":
            images = data.load(dataset)
            texts = mean.strip() or None, std.strip() or None
            images = data.normalized(images, *texts, titles=("The mean", "The standard deviation"))
            path.write_bytes(content)
            return models.bring(path, name, images)

        found = refusal_on_error(task)
    return Refusal(found.sentence.replace(str(path), f"{name}.pt2")) if isinstance(found, Refusal) else found


def plain(request: Request, prepared: "Prepared", subject: Subject | None = None) -> Outcome:
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


def _sketch(recipe: Recipe) -> Recipe | None:
    """A recipe that soon gives a first idea of what this one leads to; None where it is quick itself."""
    sketch = recipe.untrained.with_setting("quality", "fast")
    return None if sketch == recipe or not recipe.steps else sketch


class Course(NamedTuple):
    """What belongs to one request's work while it goes on."""

    request: Request
    prepared: "Prepared"
    progress: Callable[[str, float], None]
    stop: Stop
    learn: Callable[[LearningPoint], None]
    checkpoint: Path | None


def _measurements(course: Course, recipe: Recipe) -> Iterator[tuple["Candidate", Measurement]]:
    """The file of `recipe` and what is found out about it, first roughly, then fully."""
    from compression.pipeline import compress, measuring

    candidate = compress.compress_prepared(
        course.prepared, recipe,
        progress=course.progress, stop=course.stop, learn=course.learn, checkpoint=course.checkpoint,
    )  # fmt: skip
    course.progress("Measuring the file", 0.9)
    threads = course.request.threads
    for measurement in measuring.stream(candidate, course.prepared, threads=threads, stop=course.stop):
        yield candidate, measurement


def _baseline(prepared: "Prepared") -> Baseline:
    from compression.measure.accuracy import accuracy

    predictions, labels = prepared.baseline_predictions, prepared.data.test.labels.numpy()
    file = prepared.baseline
    return Baseline(accuracy(predictions, predictions, labels), len(file.onnx), file.macs, file.parameters)


def _prepare(
    request: Request, recipe: Recipe, progress: Callable[[str, float], None], stop: Stop | None = None
) -> "Prepared":
    """What all recipes for one network and dataset share. It is not stopped half-way: the next request wants it too."""
    from compression import models
    from compression.measure.channel_multiple import rounding
    from compression.pipeline import compress

    def pause() -> bool:
        if stop:
            stop()
        return False

    def make() -> "Prepared":
        progress("Loading images", 0.0)
        data = _load(request)
        model = models.network(request.model, request.weights)
        made = compress.prepare(
            model, data,
            seed=recipe.seed, calibration_images=recipe.calibration_images, progress=progress, stop=pause,
        )  # fmt: skip
        progress("Timing small layers, once on this machine", 0.6)
        rounding()
        return made

    named = (request.model, request.weights, request.dataset)
    return _prepared.get((*named, edition(request), recipe.seed, recipe.calibration_images), make)


def edition(request: Request) -> tuple[str, str]:
    """What the request's names stand for now: weights may be trained anew, and a folder's images be others.

    To look through a folder of 20,000 images takes 0.07 s.
    """
    from compression import data

    return _weights(request), data.edition(request.dataset)


def _weights(request: Request) -> str:
    """SHA-256 of the stored weights."""
    from compression import models

    return models.card(request.model, request.weights).sha256


def prepared(request: Request, stop: Stop | None = None) -> "Prepared":
    """What all recipes for the request's network and dataset share, for whoever asks beside the jobs."""
    return _prepare(request, Recipe.from_json(request.recipe), lambda sentence, share: None, stop)


def _load(request: Request) -> "Dataset":
    """The images, normalised as the network was trained, and with as many channels."""
    from compression import data, models

    loaded = data.load(request.dataset)
    if request.weights == request.dataset:
        return loaded
    card = models.card(request.model, request.weights)
    return replace(loaded.with_channels(card.input_shape[0]), mean=card.mean, std=card.std, given=True)


def _paced(tell: Callable[[str, float], None], pause: float = 0.05) -> Callable[[str, float], None]:
    """`tell`, but for the same sentence at most once in `pause` seconds."""
    last: tuple[str, float] = ("", 0.0)

    def paced(sentence: str, share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if sentence != last[0] or now - last[1] >= pause:
            last = (sentence, now)
            tell(sentence, share)

    return paced


def without_predictions(measurement: Measurement) -> Measurement:
    """The same numbers without the answer for each image, for whoever only draws them."""
    kept = measurement.predictions
    return replace(measurement, predictions=Predictions(kept.images[:0], kept.classes[:0], kept.confidences[:0]))


def warm_up(worker: Any) -> None:
    """Dask calls this in the worker. The engine's libraries take seconds to load: begin before anybody asks."""
    threading.Thread(target=load, name="warm-up", daemon=True).start()
