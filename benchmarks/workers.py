"""Trials a minute of one search with 1, 2, 4, … workers: processes of this machine that share its cores.

Each count of workers begins in a home where nothing is known, and has the same network, seed and number of trials; the
network is prepared on every worker before the clock starts, and the test split is not read. A minute on a machine that
others use too says little, so trials per second of the workers' processor time stand beside trials a minute, and what
share of the workers' time they were at a trial: where both hold, more cores carry out more trials.
"""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any
from unittest.mock import patch

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from benchmarks.search import new_home
from compression.cli.console import Progress
from compression.errors import Unsupported
from compression.host.machine import this_machine
from compression.jobs import cluster, search_runs, search_tasks
from compression.jobs.job import Job, result
from compression.jobs.joined import LONG
from compression.jobs.result_recorder import ResultRecorder
from compression.jobs.search import search_of
from compression.jobs.search_tasks import Begun
from compression.jobs.worker import run_patiently
from compression.records.search import Trial
from compression.searching.settings import SearchSettings

TOPIC = "workers"


@dataclass(frozen=True)
class Pace:
    """What a search did with so many workers: seconds on the clock, and of the processor, of workers and of its own.

    `busy_s` are the seconds that workers were at trials, all together.
    """

    workers: int
    trials: int
    complete: int
    wall_s: float
    worker_cpu_s: float
    search_cpu_s: float
    busy_s: float

    @property
    def per_minute(self) -> float:
        """Trials a minute."""
        return 60 * self.trials / self.wall_s

    @property
    def per_cpu_minute(self) -> float:
        """Trials in a minute of the workers' processor time."""
        return 60 * self.trials / self.worker_cpu_s

    @property
    def busy(self) -> float:
        """Share of the workers' time that they were at a trial."""
        return self.busy_s / (self.workers * self.wall_s)


class Search(search_runs.SearchRun):
    """A search whose workers all have the network before it begins, and that is timed."""

    pace: Pace

    def _search(self) -> None:
        self._prepare_all()
        wall, own, theirs = time.perf_counter(), time.thread_time(), self._worker_cpu_s()
        super()._search()
        wall, own = time.perf_counter() - wall, time.thread_time() - own
        trials: list[Trial] = self._study.trials
        self.pace = Pace(
            self._workers, len(trials), sum(t.state == "complete" for t in trials), wall,
            self._worker_cpu_s() - theirs, own, sum(t.seconds for t in trials),
        )  # fmt: skip

    def _prepare_all(self) -> None:
        connection, request = self._connection(), self._request(self._plain)
        futures = [
            connection.send(
                run_patiently, search_tasks.begin, request, self._beside, self._topic, self._job.id, workers=[name]
            )
            for name in connection.workers(LONG, self._workers) or ()
        ]
        for found in map(result, futures):
            if not isinstance(found, Begun):
                raise Unsupported(f"A worker did not prepare the network: {getattr(found, 'sentence', 'it stopped')}.")

    def _worker_cpu_s(self) -> float:
        return sum(self._connection().client.run(time.process_time).values())

    def _test(self) -> None:
        """The test split has nothing to do with trials a minute."""


def run(
    model: str, dataset: str, quiet: Quiet, progress: Progress, *, counts: tuple[int, ...], trials: int, sampler: str,
    rounds: int,
) -> Report:  # fmt: skip
    """Carries out a search with each count of workers, in turns, and reports the sums over the rounds."""
    found = dict[int, Pace]()
    for number in range(rounds):
        for count in counts:
            progress(f"{count} workers, round {number + 1}", (number + count / sum(counts)) / rounds)
            pace = _paced(model, dataset, count, trials, sampler, number)
            found[count] = _sum(found[count], pace) if count in found else pace
    paces = list(found.values())
    heading = f"{model} on {dataset}: {trials} trials of a search in each of {rounds} rounds, sampler {sampler!r}."
    values = {"paces": [asdict(pace) for pace in paces]}
    return Report("workers", model, dataset, this_machine(), quiet, values, f"{heading}\n\n{_table(paces)}")


def _paced(model: str, dataset: str, count: int, trials: int, sampler: str, seed: int) -> Pace:
    settings = SearchSettings.model_validate(
        {"trials": trials, "minutes": 10_000, "workers": count, "sampler": sampler, "seed": seed}
    )
    work = search_of(model, dataset, settings)
    with new_home(), patch.object(cluster, "most_workers", lambda: count):
        connection = cluster.connect()
        try:
            search = Search(Job(work), work, lambda: connection, ResultRecorder(), TOPIC)
            refused: Any = search.run()
            if not hasattr(search, "pace"):
                raise Unsupported(f"The search did not begin: {refused}.")
            return search.pace
        finally:
            connection.close()


def _sum(one: Pace, other: Pace) -> Pace:
    both = {name: value + getattr(other, name) for name, value in vars(one).items() if name != "workers"}
    return replace(one, **both)


def _table(paces: list[Pace]) -> str:
    first = paces[0]
    rows = [
        [
            str(p.workers), str(p.trials), str(p.complete), f"{p.per_minute:.1f}",
            f"{p.per_minute / first.per_minute:.2f}", f"{p.per_cpu_minute:.1f}",
            f"{p.per_cpu_minute / first.per_cpu_minute:.2f}", f"{100 * p.busy:.0f}%",
            f"{p.worker_cpu_s / p.wall_s:.2f}", f"{1000 * p.search_cpu_s / p.trials:.1f}",
        ] for p in paces
    ]  # fmt: skip
    head = ["workers", "trials", "to the end", "a minute", "times the first", "a worker's CPU minute", "of the first",
            "workers at a trial", "cores that workers got", "search, CPU ms a trial"]  # fmt: skip
    return table(head, rows)
