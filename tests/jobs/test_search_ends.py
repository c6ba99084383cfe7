"""How a search ends: by its minutes on a clock of our own, by proposals that repeat, and by workers that die."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from compression.cli import search as command
from compression.jobs import search_runs, search_tasks
from compression.jobs.job import Job
from compression.jobs.messages import Finished, Outcome, Searching
from compression.jobs.search import SearchView
from compression.jobs.search_runs import SearchRun
from compression.jobs.search_tasks import Begun, Tried
from compression.records.measurement import Measurement
from compression.records.search import Found, Trial
from compression.searching.settings import SearchSettings
from compression.searching.study import Study
from compression.store.database import Database
from compression.store.studies import study_storage

TOLD: Any = SimpleNamespace(size_bytes=100_000, accuracy=SimpleNamespace(value=0.9, drop=0.01, reference="fp32"))


@dataclass
class Clock:
    """Time passes where somebody sleeps."""

    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(1e9 * self.now)


@dataclass
class Task:
    """What Dask's future is to a search: it is over at a time, with what `made` returns; None of a worker that died."""

    clock: Clock
    over: float
    made: Callable[[], Any]
    cancelled: bool = False

    def done(self) -> bool:
        return self.clock.now >= self.over

    def exception(self) -> BaseException | None:
        return None if self.made() is not None else TimeoutError()

    def result(self, timeout: float = 0) -> Any:
        if (found := self.made()) is None:
            raise TimeoutError
        return found

    def release(self) -> None:
        pass

    def cancel(self) -> None:
        self.cancelled = True


class Told(Measurement):
    """Of a file on test images."""

    def __init__(self) -> None:
        pass


@dataclass
class Cluster:
    """Two workers: trials and tests take so many seconds, and so many of the tests lose their worker.

    Each file is smaller and worse than the one before.
    """

    clock: Clock
    trial_s: float
    test_s: float
    dying: int = 0
    sent: list[tuple[Any, Task]] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)

    def workers(self, kind: str, count: int, about: Any, device: str) -> None:
        self.devices.add(device)

    def side_by_side(self, count: int, device: str) -> int:
        return 7

    def searching(self, count: int) -> Any:
        return nullcontext(2)

    def send(self, run: Any, task: Any, *about: Any, workers: Any, key: str) -> Task:
        found: Any = Begun(Outcome(*[TOLD] * 8), {"harm": {}, "sizes": {}}, 0.9, 500, 500)
        seconds = 0.0
        if task is search_tasks.carry_out:
            assert about[2] == self.side_by_side(1, "")
            bytes_ = 50_000 - len(self.sent)
            seen = Found((60_000 - bytes_) / 1e6, 0.99, 0.9, bytes_, 1, 0.0, 500, 0.5, 0.1, accuracy=0.9)
            found, seconds = Tried("all images", "", seen, bytes_, 0.0, 7.0, "box", Outcome(*[TOLD] * 8)), self.trial_s
        if task is search_tasks.read_test_split:
            found, seconds = Told(), self.test_s
            if self.dying:
                found, self.dying = None, self.dying - 1
        sent = Task(self.clock, self.clock.now + seconds, lambda: found)
        self.sent.append((task, sent))
        return sent

    def of(self, task: Any) -> list[Task]:
        return [each for about, each in self.sent if about is task]


@dataclass
class Searched:
    """A search that has ended."""

    clock: Clock
    cluster: Cluster
    study: Study
    tested: list[str]
    outcome: Any


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Searched]:
    def run(
        *,
        fruitless: int = search_runs.FRUITLESS,
        trial_s: float = 7.0,
        test_s: float = 0.5,
        dying: int = 0,
        **asked: Any,
    ) -> Searched:
        clock, tested = Clock(), list[str]()
        storage = study_storage(Database(f"sqlite:///{tmp_path / uuid4().hex}.db"))
        cluster = Cluster(clock, trial_s, test_s, dying)
        kept = SimpleNamespace(file_hash="", measurement=TOLD, id="run")
        store = SimpleNamespace(studies=lambda: storage, runs=lambda **about: [], run=lambda run: kept)
        recorder: Any = SimpleNamespace(
            store=store, keep=lambda outcome, job="", member="": True, content=lambda key: b"file",
            keep_measurement=lambda run, found: bool(tested.append(run)),  # type: ignore[func-returns-value]
        )  # fmt: skip
        monkeypatch.setattr(search_runs, "time", clock)
        monkeypatch.setattr(search_runs, "run_of", lambda outcome: "run")
        monkeypatch.setattr(search_runs, "replace", replaced)
        monkeypatch.setattr(search_runs, "FRUITLESS", fruitless)
        settings = SearchSettings(sampler="random", techniques=("quantize",), **asked)
        work = Searching("lenet300", "digits", "digits", settings.to_json())
        connection: Any = cluster
        outcome = SearchRun(Job(work, id="a"), work, lambda: connection, recorder, "topic").run()
        return Searched(clock, cluster, Study(storage, "search a", settings), tested, outcome)

    return run


def replaced(about: Any, **changes: Any) -> Any:
    """`dataclasses.replace`, but a measurement of ours has no fields."""
    return about if isinstance(about, Told) else replace_fields(about, **changes)


replace_fields = search_runs.replace


def test_when_the_minutes_are_over_what_is_under_way_is_left_and_the_front_is_tested(
    searched: Callable[..., Searched],
) -> None:
    found = searched(minutes=0.5, trial_s=20)
    trials = found.cluster.of(search_tasks.carry_out)
    assert isinstance(found.outcome, Finished)
    assert found.clock.now < 30 + 1  # seconds
    assert [each.cancelled for each in trials] == [False] * 3 + [True] * 3
    assert len(found.study.trials) == 3
    assert found.study.left_open() == []
    assert len(found.tested) == len(found.cluster.of(search_tasks.read_test_split)) == 1  # the best, however late
    assert found.cluster.devices == {""}
    assert searched(minutes=0.5, device="pi4").cluster.devices == {"pi4"}


def test_when_nothing_new_is_proposed_what_is_under_way_is_still_kept(searched: Callable[..., Searched]) -> None:
    found = searched(minutes=100, fruitless=1)
    trials = found.cluster.of(search_tasks.carry_out)
    assert len(found.study.trials) == len(trials) > 1
    assert not any(each.cancelled for each in trials) and found.clock.now < 6_000


def test_a_test_that_outlasts_the_time_is_the_last_and_one_whose_worker_died_is_sent_again(
    searched: Callable[..., Searched],
) -> None:
    late = searched(minutes=0.5, test_s=100)
    assert late.tested == ["run", "run"] and 100 < late.clock.now < 132
    again = searched(minutes=1, dying=1, trials=3)
    assert len(again.cluster.of(search_tasks.read_test_split)) == len(again.tested) + 1
    assert len(again.tested) > 0 and len(again.study.trials) == 3


def test_where_nothing_keeps_the_limits_a_sentence_says_what_comes_nearest() -> None:
    seen = Found(0.02, 0.99, 0.9, 50_000, 1, 0.0, 500, 0.5, 0.1, accuracy=0.9)
    settings = SearchSettings(drop=0.0, size_bytes=1_000)
    trials = (Trial(0, "cut", "simulated", "", {}), Trial(1, "complete", "all images", "{}", {}, seen))
    for count, reason in (
        (1, "No trial is complete yet."),
        (2, "No file is within these limits; the closest has 50.0 KB"),
    ):
        printed = command.plain(SearchView("a", settings, trials[:count], {}, 1.0))
        assert printed["best"] is None and printed["reason"].startswith(reason)
