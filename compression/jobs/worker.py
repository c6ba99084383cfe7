"""What happens in a worker's process: one request in, measurements out.

Importing this module is cheap, as the scheduler and the nanny do it too: torch is loaded only where work is done.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from distributed import get_worker, secede

from compression.errors import Cancelled, UserError
from compression.host.interruption import interruptible, letting_others, look
from compression.host.machine_lock import work_turn, yield_turn
from compression.host.process_memory import enough_memory, importing
from compression.jobs.channel import Stop, TaskChannel
from compression.jobs.lru_cache import LruCache
from compression.jobs.messages import Outcome, Refusal, Request
from compression.jobs.outcomes import baseline, baseline_outcome, outcome
from compression.jobs.requested import edition, images
from compression.jobs.turns import Turns
from compression.recipe import Recipe
from compression.records.measurement import Measurement
from compression.steps import STEPS

if TYPE_CHECKING:
    from compression.pipeline.candidate import Candidate, Prepared

V = TypeVar("V")


PREVIEW = "measured on the file of the fast setting"
"""Provenance of the point that is shown while the best setting still works."""


WARM_UP_SETTINGS = {f"{s.kind}.{name}": value for s in reversed(STEPS.values()) for name, value in s.warm_up.items()}
"""Settings that an idle worker compresses a new network with, so that their caches are filled before a user asks."""


UNTRAINED = "measured on a file before training"
"""Provenance of the point that is shown while a network still learns."""


_prepared: LruCache["Prepared"] = LruCache(2)


_said: dict[Any, tuple[str, float]] = {}
"""What is being done for each network that is being prepared, for those who wait for it too."""


ABANDONED_S = 1.0
"""A preparation that is stopped goes on for so long: the next position of a slider mostly wants the same network."""


turns = Turns()


ENGINE = "compression.pipeline.compress"
TRACER = "torch.export._trace"
"""PyTorch imports it, and a second's worth of modules with it, when the first network is traced.

Not with the engine: bindings among them warn at the end of a process if their objects are kept out of collections.
"""


_loading = threading.Lock()


def load() -> None:
    """Loads the engine. One thread does: of two that import modules of one package at once, one may meet half of it."""
    with _loading:
        with nullcontext() if ENGINE in sys.modules else importing():
            import_module(ENGINE)
        import_module(TRACER)


def run_task(task: Callable[..., V], *about: Any) -> V:
    """What Dask runs of all that is sent here: `task(*about)`, once the engine is there and no other task computes."""
    load()
    with turns.turn(), letting_others(_out_of_the_way):
        return task(*about)


def run_patiently(task: Callable[..., V], *about: Any) -> V:
    """The same for a training: tasks that a user waits for go first."""
    load()
    with turns.turn(patient=True), letting_others(_out_of_the_way):
        return task(*about)


@contextmanager
def _out_of_the_way() -> Iterator[None]:
    """Inside, this worker carries out other tasks, as this one only waits."""
    _leave_the_line()
    with turns.aside():
        yield


@contextmanager
def sharing_cores(workers: int) -> Iterator[None]:
    """Inside, PyTorch takes one of `workers` equal shares of its threads, at least one.

    Workers of one machine that each take all cores spend their time waiting for each other's threads. The bytes of a
    file can depend on the number of threads, as sums are rounded in another order.
    """
    import torch

    whole = torch.get_num_threads()
    torch.set_num_threads(max(1, whole // workers))
    try:
        yield
    finally:
        torch.set_num_threads(whole)


def run_question(question: Callable[..., V], *about: Any) -> V:
    """What Dask runs of a question that a user waits for: trainings and latency measurements pause meanwhile."""
    with work_turn(quick=True):
        return question(*about)


def run_watched(question: Callable[..., V], topic: str, id: str, *about: Any) -> V:
    """What Dask runs of a question that takes long: its progress goes to `topic`, and it is stopped when cancelled.

    It leaves Dask's line and lets questions and jobs pass, between two pictures and during a download. Trainings go on.
    """
    channel = task_channel(topic, id).throttled(0.2)

    def stop() -> bool:
        turns.let_pass()
        turns.pause(channel.stop)
        return channel.stop()

    _secede()
    with work_turn(), interruptible(stop):
        return question(*about, progress=channel.progress, stop=stop)


def run_beside(task: Callable[..., V], *about: Any) -> V:
    """The same for a task that no user waits for: all others go first, and none waits in Dask's line behind it."""
    load()
    _secede()
    with turns.turn(patient=True), letting_others(_out_of_the_way):
        return task(*about)


def run(request: Request, topic: str, job: str) -> Outcome | Refusal:
    """The task that Dask runs for a job that a user waits for. Its events go to `topic`; each names its `job`."""
    channel = task_channel(topic, job)

    def stop() -> bool:
        yield_turn(channel.stop)
        return channel.stop()

    def task() -> Outcome:
        known = edition(request)  # before: what is changed meanwhile is not what was measured
        return replace(work(request, channel._replace(stop=stop)), edition=known)

    with work_turn(quick=True), interruptible(stop):
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
        with enough_memory():
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
    channel.baseline(baseline(prepared))
    task = Task(request, prepared, channel, checkpoint)
    if (preview := _preview_recipe(recipe)) and not (checkpoint and checkpoint.exists()):
        first = next(iter(_measurements(task, preview)))[1]
        provenance = UNTRAINED if recipe.get("recover") else PREVIEW
        channel.measured(replace(first, provenance=provenance), full=False)
    for file, measurement in _measurements(task, recipe):
        channel.measured(measurement, full=measurement.accuracy.n == len(prepared.data.test))
        made = file, measurement
    return outcome(request, prepared, *made)


def measure_baseline(request: Request) -> Outcome | Refusal:
    """The plain fp32 file of the request's network, as it is kept beside the compressed ones."""
    with work_turn(quick=True):
        return refusal_on_error(lambda: baseline_outcome(request, prepared(request)))


def warm_caches(request: Request, setting: str) -> bool:
    """One of `WARM_UP_SETTINGS` on the request's network, so that no user waits for what is computed once.

    It ends at the next batch or layer once anybody wants something else: whether it came to its end. Does nothing where
    that fails, for example as the network is gone: a job with this setting says so.
    """
    from compression.pipeline import compress

    stop = _is_in_the_way()
    with work_turn(quick=True), interruptible(stop):
        try:
            compress.warm_caches(prepared(request, stop), setting, WARM_UP_SETTINGS[setting])
        except Cancelled:
            return False
        except UserError:
            return True
    return True


def _is_in_the_way() -> Stop:
    """Whether the task that asks is no longer wanted, or another one that is wanted more waits for it."""
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]

    def stop() -> bool:
        yield_turn()
        if task.state == "cancelled" or turns.is_awaited():
            return True
        return any((other.priority or ()) < (task.priority or ()) for other in list(worker.state.ready))

    return stop


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

    left, threads = False, task.request.threads

    def stop() -> bool:
        if left:
            turns.let_pass()
        return channel.stop()

    def aside() -> None:
        nonlocal left
        left = _leave_the_line()

    for measurement in measuring.stream(
        candidate, task.prepared, threads=threads, progress=channel.measuring, stop=stop, aside=aside
    ):
        yield candidate, measurement


def _prepare(request: Request, recipe: Recipe, channel: TaskChannel) -> "Prepared":
    """What all recipes for one network and dataset share.

    Between two batches other tasks go first. It is stopped once nobody wants it any more, neither this task nor others
    that wait for the same network.
    """
    import torch

    from compression import models
    from compression.measure.channel_multiple import rounding
    from compression.pipeline import compress

    key = (
        request.model, request.weights, request.dataset, edition(request), recipe.seed, recipe.calibration_images,
        torch.get_num_threads(),
    )  # fmt: skip
    is_abandoned = _abandoned(channel.stop, lambda: _prepared.is_awaited(key))

    def stop() -> bool:
        turns.let_pass()
        return is_abandoned()

    def say(sentence: str, share: float) -> None:
        _said[key] = sentence, share
        channel.progress(sentence, share)

    def make() -> "Prepared":
        _leave_the_line()
        try:
            say("Loading images", 0.0)
            data = images(request, say, stop)
            model = models.network(request.model, request.weights)
            with interruptible(stop):
                made = compress.prepare(
                    model, data, seed=recipe.seed, calibration_images=recipe.calibration_images, progress=say, stop=stop
                )
            say("Timing small layers (once per machine)", 0.6)
            rounding()
            return made
        finally:
            _said.pop(key, None)

    def told() -> None:
        channel.progress(*_said.get(key, ("Loading images", 0.0)))

    return _prepared.get(key, make, wait=lambda is_made: wait(is_made, told))


def wait(is_made: Callable[[], bool], told: Callable[[], None] = lambda: None) -> None:
    """Waits for what another thread makes, which may compute meanwhile; see `lru_cache.Wait`."""
    with turns.aside():
        while not is_made():
            look()
            told()


def _abandoned(stop: Stop, is_awaited: Callable[[], bool]) -> Stop:
    """Whether `stop()` has been true for a while, and nobody waited meanwhile."""
    since: float | None = None

    def abandoned() -> bool:
        nonlocal since
        if not stop() or is_awaited():
            since = None
            return False
        since = since or time.monotonic()
        return time.monotonic() - since > ABANDONED_S

    return abandoned


def _leave_the_line() -> bool:
    """Has Dask give the next task a thread of its own: this one takes long, and lets others pass between batches.

    Whether it does; one that no user waits for stays where it is.
    """
    if turns.is_patient():
        return False
    _secede()
    return True


def _secede() -> None:
    """Has Dask give the next task a thread of its own."""
    with suppress(ValueError):  # not in a worker
        get_worker()
        if not getattr(_line, "left", False):
            secede()
            _line.left = True


_line = threading.local()
"""`left`: whether the thread is no longer one of those that Dask gives tasks to; it ends with its task."""


def prepared(request: Request, stop: Stop | None = None) -> "Prepared":
    """What all recipes for the request's network and dataset share, without events."""
    silent = TaskChannel(lambda kind, **news: None, stop or (lambda: False))
    return _prepare(request, Recipe.from_json(request.recipe), silent)


def warm_up(worker: Any) -> None:
    """Dask calls this in the worker. The engine's libraries take seconds to load: begin before anybody asks."""
    threading.Thread(target=load, name="warm-up", daemon=True).start()
