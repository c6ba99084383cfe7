"""What a search itself costs for each trial, beside the trials: proposals, sending, collecting, the database.

Trials do nothing and answer at once, with figures that depend on their recipe; 64 workers of Dask are threads of this
process, so that its processor time is that of the search, of Dask's scheduler and of the workers together. Results are
not kept as runs: no file was made.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from distributed import Client, LocalCluster

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression.cli.console import Progress
from compression.host.machine import this_machine
from compression.host.process_memory import resident_bytes
from compression.jobs import search_runs, search_tasks
from compression.jobs.cluster import ClusterConnection
from compression.jobs.job import Job
from compression.jobs.messages import Request
from compression.jobs.result_recorder import ResultRecorder
from compression.jobs.search import search_of
from compression.jobs.search_tasks import Tried
from compression.records.search import Found
from compression.searching.rounds import Bar
from compression.searching.settings import SearchSettings
from compression.searching.study import BASELINE, HARMS

WORKERS = 64
PARTS = 10
"""Parts of the search of which seconds and memory are told apart: whether they grow."""

BASELINE_BYTES = 1_000_000


def carry_out(request: Request, passed: Bar, beside: int, topic: str, job: str) -> Tried:
    """A trial that does nothing. Files that are smaller lose more, and each recipe has luck of its own."""
    digest = hashlib.sha256(request.recipe.encode()).digest()
    luck, share = (int.from_bytes(part, "big") / 2**48 for part in (digest[:6], digest[6:12]))
    size, drop = int(BASELINE_BYTES * (0.02 + 0.5 * share)), 0.002 / (0.05 + share) * (0.5 + luck)
    found = Found(drop, 0.95, 0.9, size, 1000, 0.1 * luck, 500, latency_ratio=0.4 + 0.5 * luck * share)
    return Tried("all images", "", found, size, found.divergence, 0.0, "no machine")


@dataclass(frozen=True)
class Part:
    """Of some trials in a row: milliseconds for each, and the process's memory in MB after them.

    `search_ms` is processor time of the search's thread, `cpu_ms` that of the process, with Dask and its workers.
    """

    trials: int
    search_ms: float
    cpu_ms: float
    wall_ms: float
    memory_mb: float


class Search(search_runs.SearchRun):
    """A search that is not prepared, and that tells what each part of its trials cost."""

    def __init__(self, *about: Any, every: int, progress: Progress):
        super().__init__(*about)
        self.parts = list[Part]()
        self._every, self._progress, self._told_at = every, progress, 0
        self._clock = 0.0, 0.0, 0.0

    def _begin(self) -> None:
        self._study.keep(BASELINE, {
            "size_bytes": BASELINE_BYTES, "accuracy": 0.95, "images": 500, "tests": 500, "test_accuracy": 0.95,
            "reference": "labels",
        })  # fmt: skip
        self._study.keep(HARMS, {
            "harm": {f"layer{i}": {str(b): 2.0**-b for b in range(1, 9)} for i in range(20)},
            "sizes": {f"layer{i}": 10_000 for i in range(20)},
        })  # fmt: skip
        super()._begin()
        self._clock = time.thread_time(), time.process_time(), time.perf_counter()

    def _collect(self) -> None:
        super()._collect()
        done = self._history.count
        if done >= self._told_at + self._every:
            now, count = (time.thread_time(), time.process_time(), time.perf_counter()), done - self._told_at
            own, cpu, wall = (1000 * (after - before) / count for before, after in zip(self._clock, now, strict=True))
            self.parts.append(Part(count, own, cpu, wall, (resident_bytes() or 0) / 1e6))
            self._clock, self._told_at = now, done
            told = f"{done} trials, {own:.1f} ms each, {self.parts[-1].memory_mb:.0f} MB"
            self._progress(told, done / max(self.settings.trials, 1))

    def _test(self) -> None:
        """No file was made that could be tested."""


def run(quiet: Quiet, progress: Progress, *, trials: int, sampler: str) -> Report:
    """Carries out a search of so many trials that do nothing."""
    with TemporaryDirectory() as home, patch.dict(os.environ, COMPRESSION_HOME=home), _cluster() as client:
        search = _search(client, trials, sampler, progress)
        with patch.object(search_tasks, "carry_out", carry_out):
            search.run()
    parts = search.parts
    rows = [
        [str(sum(q.trials for q in parts[: i + 1])), *(f"{v:.1f}" for v in (p.search_ms, p.cpu_ms, p.wall_ms)),
         f"{p.memory_mb:.0f}"] for i, p in enumerate(parts)
    ]  # fmt: skip
    told = table(["trials", "search, ms a trial", "processor, ms a trial", "wall, ms a trial", "memory, MB"], rows)
    heading = f"{trials} trials that do nothing, {WORKERS} workers, sampler {sampler!r}."
    values = {"parts": [vars(part) for part in parts]}
    return Report("dispatch", "none", "none", this_machine(), quiet, values, f"{heading}\n\n{told}")


@contextmanager
def _cluster() -> Iterator[Client]:
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=None
    ) as cluster, Client(cluster) as client:  # fmt: skip
        yield client


def _search(client: Client, trials: int, sampler: str, progress: Progress) -> Search:
    settings = SearchSettings.model_validate(
        {"trials": trials, "minutes": 10_000, "workers": WORKERS, "sampler": sampler}
    )
    work = search_of("resnet20", "fashion-mnist", settings)
    connection = ClusterConnection(client)
    every = max(trials // PARTS, 1)
    return Search(Job(work), work, lambda: connection, ResultRecorder(), "dispatch", every=every, progress=progress)
