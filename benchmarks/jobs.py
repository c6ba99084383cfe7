"""How soon long jobs make way: a training is cancelled from another program, and a slider moves beside one.

The first is the time from the wish in the store until the book says so, and until the training has really stopped,
which it does by putting away what it has learned; the second that of a slider's first answer while a training is at
work, beside the same answer without one.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

from benchmarks.quiet import Quiet
from benchmarks.report import Report, Spread, spread, table
from compression.cli.console import Progress
from compression.data import user_folder
from compression.errors import Unsupported
from compression.host.machine import this_machine
from compression.jobs.lab import Job, Lab, Request, Training
from compression.jobs.long_tasks import checkpoint
from compression.recipe import Recipe
from compression.steps import Prune
from compression.store import Store

REPEATS = 10
ENDLESS = 5_000
SETTLED_S = 1.0
"""A training that writes nothing down for so long has stopped: this one does so after every epoch."""

PATIENCE_S = 120.0


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Everything, in the order of the docstring, in a home of its own."""
    datasets = user_folder() / "datasets"
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, COMPRESSION_HOME=folder):
        (Path(folder) / "datasets").symlink_to(datasets, target_is_directory=True)
        lab, other = Lab(), Store.open()
        try:
            found = _measure(lab, other, model, dataset, progress)
        finally:
            other.close()
            lab.close()
    values = {name: asdict(each) for name, each in found.items()}
    return Report("jobs", model, dataset, this_machine(), quiet, values, _markdown(model, dataset, found))


def _measure(lab: Lab, other: Store, model: str, dataset: str, progress: Progress) -> dict[str, Spread]:
    positions = iter(range(1 + 2 * REPEATS))
    progress("Starting the worker", 0.0)
    _answered(lab, model, dataset, next(positions))
    lab.wait_until_idle()
    alone = [_answered(lab, model, dataset, next(positions)) for _ in range(REPEATS)]
    cancelled = []
    for number in range(REPEATS):
        progress(f"Cancelling a training, {number + 1} of {REPEATS}", 0.1 + 0.07 * number)
        cancelled.append(_cancelled(other, _at_work(lab, model, dataset, number)))
    told, stopped = zip(*cancelled, strict=True)
    progress("Moving a slider beside a training", 0.9)
    job = _at_work(lab, model, dataset, REPEATS)
    beside = [_answered(lab, model, dataset, next(positions)) for _ in range(REPEATS)]
    lab.long.cancel(job.id)
    rows = {"told": told, "stopped": stopped, "slider_alone": alone, "slider_beside": beside}
    return {name: spread(seconds) for name, seconds in rows.items()}


def _answered(lab: Lab, model: str, dataset: str, position: int) -> float:
    """Seconds until the first accuracy of a slider's new position."""
    recipe = Recipe(steps=(Prune(sparsity=0.5 + 0.01 * position),), quality="fast")
    began = time.perf_counter()
    job = lab.submit(Request(model, dataset, dataset, recipe.to_json()), owner="benchmark")
    news = job.news
    while news.measurement is None and news.state == "working":
        news = job.wait(after=news.number, timeout=PATIENCE_S)
    took = time.perf_counter() - began
    _await(lambda: job.news.state != "working")
    if job.news.state != "done":
        raise Unsupported(f"The slider was not answered: {job.news.sentence}")
    return took


def _at_work(lab: Lab, model: str, dataset: str, seed: int) -> Job:
    """A training that has begun to learn."""
    job = lab.long.start(Training(model, dataset, epochs=ENDLESS, seed=seed))
    _await(lambda: job.news.curve or job.news.state != "working")
    if job.news.state != "working":
        raise Unsupported(f"The training has not begun: {job.news.sentence}")
    return job


def _cancelled(other: Store, job: Job) -> tuple[float, float]:
    """Seconds until the book says that the job was cancelled, and until what it has learned was put away for good."""
    assert isinstance(job.request, Training)
    kept, began = checkpoint(job.request), time.time()
    other.jobs.ask(job.id, "cancel")
    _await(lambda: other.jobs.get(job.id).state == "cancelled")
    told = time.time() - began
    _await(lambda: kept.exists() and time.time() - kept.stat().st_mtime > SETTLED_S)
    return told, kept.stat().st_mtime - began


def _await(condition: Callable[[], object]) -> None:
    late = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > late:
            raise Unsupported(f"Nothing has happened for {PATIENCE_S:.0f} seconds.")
        time.sleep(0.01)


def _markdown(model: str, dataset: str, found: dict[str, Spread]) -> str:
    rows = [
        ("cancelled from another program, says the book", "told", "2"),
        ("the same, until it has put away what it learned", "stopped", "2"),
        ("a slider's first accuracy", "slider_alone", ""), ("the same beside a training", "slider_beside", ""),
    ]  # fmt: skip
    lines = [(told, f"{found[n].median:.2f}", f"{found[n].p95:.2f}", str(found[n].n), goal) for told, n, goal in rows]
    return f"{model} on {dataset}, seconds.\n\n{table(('what', 'median', 'p95', 'times', 'goal'), lines)}"
