"""What a worker does for minutes or hours: trainings and sweeps. They pause for what users wait for.

Importing this module is cheap; see `worker`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compression.data import user_folder
from compression.errors import Cancelled, InvalidSetting, Unsupported
from compression.host.interruption import interruptible
from compression.host.machine_lock import work_turn
from compression.jobs import outcomes, worker
from compression.jobs.channel import Stop, TaskChannel
from compression.jobs.messages import Finished, Outcome, Refusal, Request, Searching, Sweeping, Training, Work
from compression.models.model_cards import unfinished
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.store.records import digest

if TYPE_CHECKING:
    from compression.training import Progress

T = TypeVar("T")


PAUSED = "Paused: another request has priority"


FOREIGN = "The checkpoint of this training is from another version of the program or other weights."


CHECKPOINT_TIMEOUT_S = 10.0
"""So long what a stopped training has learned is waited for."""


LEARNING = 0.95
"""Share of a training's work that is learning; the rest is measuring."""


PACE_EPOCHS = PACE_STEPS = 1_000
"""The training whose speed is measured is planned for so many epochs or steps, so that it is left before its end."""


ENOUGH_POINTS = 2
"""After so many points of a curve the speed is known well enough."""


def compress(request: Request, topic: str, job: str) -> Outcome | Refusal:
    """The task of a recipe that trains."""
    return patiently(topic, job, lambda channel: worker.work(request, channel, checkpoint(request)))


def train(training: Training, topic: str, job: str) -> Outcome | Refusal:
    """The task of a training from scratch: weights and card are stored, and the fp32 file is measured."""

    def task(channel: TaskChannel) -> Outcome:
        from compression import models
        from compression.training import device

        def told(now: "Progress") -> None:
            channel.learned(now.point)
            channel.progress(f"Epoch {now.epoch + 1} of {now.epochs}", LEARNING * now.step / now.steps)

        models.train(
            training.model, training.dataset, epochs=training.epochs or None, seed=training.seed, device=device(),
            progress=told, stop=channel.stop, resumable=True,
        )  # fmt: skip
        channel.progress("Measuring the fp32 file", LEARNING)
        request = Request(training.model, training.dataset, training.dataset, Recipe().to_json())
        return outcomes.baseline_outcome(request, worker.prepared(request, channel.stop))

    return patiently(topic, job, task)


def sweep(sweeping: Sweeping, topic: str, job: str) -> Finished | Refusal:
    """The task of a sweep over all layers. `questions.known_sensitivities` returns what it found so far."""

    def task(channel: TaskChannel) -> Finished:
        from compression.analysis.layer_sensitivity import Sweep

        channel.progress("Loading the engine", 0.0)
        found = Sweep(worker.prepared(Request(**asdict(sweeping), recipe=Recipe().to_json())))
        total = len(found.names)
        for number, name in enumerate(found.names):
            channel.progress(f"Layer {number + 1} of {total}: {name}", number / total)
            found.layer(name, channel.stop)
        return Finished(f"All {total} layers")

    return patiently(topic, job, task)


def pace(work: Work, topic: str, job: str) -> LearningPoint | Refusal:
    """The task that finds out how long a step takes here: the work is begun and left after a few of them.

    In the point, `seconds_left` is for the `steps` - `step` that were to come.
    """

    def task(channel: TaskChannel) -> LearningPoint:
        points: list[LearningPoint] = []
        channel.progress("Measuring the training speed", 0.0)

        def enough() -> bool:
            return len(points) >= ENOUGH_POINTS or channel.stop()

        try:
            _begin(work, lambda point: points.append(point) if point.step else None, enough)
        except Cancelled:
            if len(points) < ENOUGH_POINTS:
                raise
        if not points:
            raise InvalidSetting("Minutes need a recipe with the step 'recover'.")
        return points[-1]

    return patiently(topic, job, task)


def end(request: Request, topic: str, job: str) -> Request | Refusal:
    """The task that finds out where a training was stopped: `so_far`, once that has been put away.

    A training that is stopped still ends its step and writes down what it has learned, maybe beside this.
    """

    def task(channel: TaskChannel) -> Request:
        late = time.monotonic() + CHECKPOINT_TIMEOUT_S
        while not _learned(request) and time.monotonic() < late and not channel.stop():
            time.sleep(0.1)
        return so_far(request)

    return patiently(topic, job, task)


def finish(request: Request, topic: str, job: str) -> Outcome | Refusal:
    """The task of what `end` has returned: what was learned becomes a file, and nothing is learned anew."""

    def task(channel: TaskChannel) -> Outcome:
        until = Recipe.from_json(request.recipe).until

        def told(kind: str, **news: Any) -> None:
            if kind == "learned" and news["point"]["step"] < until:
                raise Unsupported(FOREIGN)
            channel.tell(kind, **news)

        return worker.work(request, channel._replace(tell=told), checkpoint(request))

    return patiently(topic, job, task)


def checkpoint(work: Request | Training) -> Path:
    """Where a training is kept while it is under way, on the machine that carries it out; until its result is kept."""
    if isinstance(work, Training):
        return unfinished(work.model, work.dataset, epochs=work.epochs, seed=work.seed)
    whole = replace(work, recipe=Recipe.from_json(work.recipe).whole.to_json())
    path = user_folder() / "checkpoints" / f"{digest(*map(str, asdict(whole).values()))}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def so_far(request: Request) -> Request:
    """The same request with its training ended where it was stopped, to keep what it has learned by then.

    Raises Unsupported where nothing is kept of it on this machine, or it cannot end there.
    """
    from compression.techniques.recovery.recover import check_end

    recipe, step = Recipe.from_json(request.recipe), _learned(request)
    if not step or step > (recipe.until or step):  # learned by another one, which goes further
        raise Unsupported("This training has no checkpoint on this machine.")
    ended = recipe.with_setting("recover.until", step)
    check_end(ended)
    return replace(request, recipe=ended.to_json())


def _learned(request: Request) -> int:
    """After how many steps what is kept of a request's training was learned; 0 where nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint(request), framework="np") as file:
            return int(file.metadata()["step"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return 0


def _begin(work: Work, learn: Callable[[LearningPoint], None], stop: Stop) -> None:
    """Begins the work and keeps nothing of it."""
    from compression import data, models, training
    from compression.pipeline.compress import compress_prepared

    if isinstance(work, Sweeping | Searching):
        return
    if isinstance(work, Request):
        recipe = Recipe.from_json(work.recipe).whole.with_setting("quality", "fast")
        if recipe.get("recover"):
            recipe = recipe.with_setting("recover.steps", PACE_STEPS)
        compress_prepared(worker.prepared(work), recipe, stop=stop, learn=learn)
        return
    images = data.load(work.dataset)
    network = models.build(work.model, input_shape=images.input_shape, classes=len(images.classes), seed=work.seed)
    config = models.recipe(work.model, images, epochs=PACE_EPOCHS)
    training.train(
        network, images, config,
        seed=work.seed, device=training.device(), progress=lambda now: learn(now.point), stop=stop,
    )  # fmt: skip


def patiently(topic: str, job: str, task: Callable[[TaskChannel], T]) -> T | Refusal:
    """What the task returns, or why it returns nothing; it pauses while somebody waits for something else."""
    channel = worker.task_channel(topic, job)

    def stop() -> bool:
        worker.turns.let_pass()
        worker.turns.pause(channel.stop, pausing=lambda: channel.progress(PAUSED, None))
        return channel.stop()

    with work_turn(), interruptible(stop):
        return worker.refusal_on_error(lambda: task(channel._replace(stop=stop)))
