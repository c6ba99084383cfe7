"""What a worker does for a search: it begins, carries out one trial, or tests one file of the final front."""

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compression.jobs import outcomes, worker
from compression.jobs.channel import TaskChannel
from compression.jobs.long_tasks import patiently
from compression.jobs.messages import Outcome, Refusal, Request
from compression.recipe import Recipe
from compression.records.measurement import Measurement
from compression.records.search import Found, Stage
from compression.searching.rounds import Bar

if TYPE_CHECKING:
    from compression.searching.evaluation import Evaluated


@dataclass(frozen=True)
class Begun:
    """What a search has to know of its network: the fp32 file and, as plain data, what bits do to each layer."""

    baseline: Outcome
    harms: dict[str, Any]
    accuracy: float
    images: int
    tests: int


@dataclass(frozen=True)
class Tried:
    """What came of a trial; `outcome` is what the store keeps of one that was complete."""

    stage: Stage
    cut: str
    found: Found | None
    size_bytes: int
    divergence: float
    seconds: float
    machine: str
    outcome: Outcome | None = None


def begin(request: Request, beside: int, topic: str, job: str) -> Begun | Refusal:
    """The task that prepares the network and finds out what every trial needs; `beside` as in `carry_out`."""

    def task(channel: TaskChannel) -> Begun:
        from compression.searching.evaluation import found_harms, held_out

        channel.progress("Preparing the network", 0.0)
        prepared = worker.prepared(request, channel.stop)
        channel.progress("Measuring the sensitivity of each layer", 0.01)
        held = held_out(prepared)
        answers = held.prepared.baseline_predictions
        right = float((answers.classes == held.labels[answers.images]).mean())
        return Begun(
            outcomes.baseline_outcome(request, prepared), asdict(found_harms(prepared)), right, len(answers), held.tests
        )

    with worker.sharing_cores(beside):
        return patiently(topic, job, task)


def carry_out(request: Request, bar: Bar, beside: int, topic: str, job: str) -> Tried | Refusal:
    """The task of one trial: the request's recipe, as far as the bar lets it.

    `beside` workers carry out trials of the search on this machine, this one among them: they share its cores.
    """

    def task(channel: TaskChannel) -> Tried:
        from compression.host.machine import this_machine
        from compression.searching.evaluation import evaluate

        begun = time.perf_counter()
        prepared = worker.prepared(request, channel.stop)
        done = evaluate(prepared, Recipe.from_json(request.recipe), bar, threads=request.threads, stop=channel.stop)
        made = None
        if done.candidate is not None and done.measurement is not None:
            made = outcomes.outcome(request, prepared, done.candidate, done.measurement)
        return _tried(done, time.perf_counter() - begun, this_machine().id, made)

    with worker.sharing_cores(beside):
        return patiently(topic, job, task)


def _tried(done: "Evaluated", seconds: float, machine: str, made: Outcome | None) -> Tried:
    sketch = done.sketch
    return Tried(done.stage, done.cut, done.found, sketch.size_bytes, sketch.divergence, seconds, machine, made)


def read_test_split(request: Request, onnx: bytes, earlier: Measurement, topic: str, job: str) -> Measurement | Refusal:
    """The task that reads the test split for one file of the final front."""

    def task(channel: TaskChannel) -> Measurement:
        from compression.searching.evaluation import on_test_images

        return on_test_images(worker.prepared(request, channel.stop), onnx, earlier, stop=channel.stop)

    return patiently(topic, job, task)
