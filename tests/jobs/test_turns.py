"""Who computes in a worker: questions pass between two batches of a preparation; filling caches makes way for them."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.nn.utils import parametrize

from compression.errors import Cancelled
from compression.host import machine_lock
from compression.host.interruption import interruptible, look
from compression.jobs import worker
from compression.jobs.channel import TaskChannel
from compression.jobs.lru_cache import LruCache
from compression.jobs.messages import Request
from compression.jobs.turns import Turns
from compression.recipe import Recipe

PATIENCE_S = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_one_thread_computes_and_lets_only_those_pass_for_whom_a_user_waits(pool: ThreadPoolExecutor) -> None:
    turns, order, go = Turns(), list[str](), threading.Event()

    def task(name: str, *, patient: bool) -> None:
        with turns.turn(patient=patient), turns.turn(patient=patient):  # again in the same thread: no matter
            order.append(name)

    def preparation() -> None:
        with turns.turn():
            order.append("first half")
            go.wait(PATIENCE_S)
            turns.let_pass()
            order.append("second half")

    begun = [pool.submit(preparation)]
    assert until(lambda: order == ["first half"])
    for name, patient in (("idle", True), ("question", False), ("another", False)):
        begun.append(pool.submit(task, name, patient=patient))
        assert until(lambda: len(turns._waiting) == len(begun) - 1)
    go.set()
    for future in begun:
        future.result(PATIENCE_S)
    assert order == ["first half", "question", "another", "second half", "idle"]


def test_a_training_that_lets_a_question_pass_comes_before_the_next_training(pool: ThreadPoolExecutor) -> None:
    turns, order, go = Turns(), list[str](), threading.Event()

    def training(name: str) -> None:
        with turns.turn(patient=True):
            order.append(name)
            go.wait(PATIENCE_S)
            turns.let_pass()
            order.append(name)

    def question() -> None:
        with turns.turn():
            order.append("question")

    first = pool.submit(training, "first")
    assert until(lambda: bool(order))
    others = [pool.submit(training, "second")]
    assert until(lambda: len(turns._waiting) == 1)
    others.append(pool.submit(question))
    assert until(lambda: len(turns._waiting) == 2)
    go.set()
    for future in (first, *others):
        future.result(PATIENCE_S)
    assert order == ["first", "question", "first", "second", "second"]


def test_filling_a_cache_makes_way_for_whatever_is_wanted_more(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SimpleNamespace(state="executing", priority=(-10, 5))
    state = SimpleNamespace(tasks={"own": own}, ready=[SimpleNamespace(priority=(-10, 6))])
    monkeypatch.setattr(worker, "get_worker", lambda: SimpleNamespace(state=state, get_current_task=lambda: "own"))
    stop = worker._is_in_the_way()
    assert not stop()  # the next cache can wait
    state.ready.append(SimpleNamespace(priority=(-50, 7)))
    assert stop()
    state.ready.pop()
    own.state = "cancelled"
    assert stop()


def test_what_nobody_has_to_wait_for_goes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "turns", here := Turns())
    order: list[str] = []

    def wait_in_line(name: str, run: Callable[..., Any]) -> threading.Thread:
        thread = threading.Thread(target=run, args=(partial(order.append, name),))
        before = len(here._waiting)
        thread.start()
        assert until(lambda: len(here._waiting) > before)
        return thread

    with here.turn():
        threads = [wait_in_line("beside", worker.run_beside), wait_in_line("first", worker.run_task)]
    for thread in threads:
        thread.join(60)
    assert order == ["first", "beside"]


class Prepared:
    """`worker._prepare` with a preparation of many batches in place of the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches, self.goes_on = 0, True
        from compression import models
        from compression.pipeline import compress

        monkeypatch.setattr(worker, "_prepared", LruCache(2))
        monkeypatch.setattr(worker, "turns", Turns())
        monkeypatch.setattr(worker, "edition", lambda _: ("", ""))
        monkeypatch.setattr(worker, "images", lambda *_: None)
        monkeypatch.setattr(worker, "ABANDONED_S", 0.1)
        monkeypatch.setattr(models, "network", lambda *_: None)
        monkeypatch.setattr(compress, "prepare", self._prepare)
        monkeypatch.setattr("compression.measure.channel_multiple.rounding", lambda: None)

    def _prepare(self, *_: Any, **__: Any) -> str:
        while self.goes_on:
            self.batches += 1
            look()
            time.sleep(0.002)
        return "prepared"

    def job(self, stop: Callable[[], bool] = lambda: False, said: list[str] | None = None) -> Any:
        def tell(kind: str, **news: Any) -> None:
            (said if said is not None else []).append(news["sentence"])

        channel = TaskChannel(tell, stop)

        def task() -> Any:
            with interruptible(stop):
                return worker._prepare(Request("a", "b", "c", Recipe().to_json()), Recipe(), channel)

        return worker.run_task(task)


def test_a_preparation_lets_questions_pass(monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
    slow = Prepared(monkeypatch)
    job = pool.submit(slow.job)
    assert until(lambda: slow.batches > 2)
    assert pool.submit(worker.run_task, lambda: "answer").result(PATIENCE_S) == "answer"
    assert not job.done()
    slow.goes_on = False
    assert job.result(PATIENCE_S) == "prepared"


def test_a_preparation_that_nobody_wants_ends(monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
    slow, stopped = Prepared(monkeypatch), threading.Event()
    job = pool.submit(slow.job, stopped.is_set)
    assert until(lambda: slow.batches > 2)
    stopped.set()
    with pytest.raises(Cancelled):
        job.result(PATIENCE_S)


def test_a_preparation_goes_on_for_the_next_that_wants_it(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    slow, stopped, said = Prepared(monkeypatch), threading.Event(), list[str]()
    first = pool.submit(slow.job, stopped.is_set)
    assert until(lambda: slow.batches > 2)
    second = pool.submit(slow.job, lambda: False, said)
    assert until(lambda: len(said) > 0)
    stopped.set()
    before = slow.batches
    assert until(lambda: slow.batches > before + 100)  # 0.2 s: longer than one that nobody wants
    slow.goes_on = False
    assert second.result(PATIENCE_S) == "prepared"
    assert first.result(PATIENCE_S) == "prepared"
    assert set(said) == {"Loading images"}


def test_who_waits_for_a_preparation_can_leave(monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
    slow, left = Prepared(monkeypatch), threading.Event()
    first = pool.submit(slow.job)
    assert until(lambda: slow.batches > 2)
    second = pool.submit(slow.job, left.is_set)
    assert until(lambda: bool(worker._prepared._waiting))
    left.set()
    with pytest.raises(Cancelled):
        second.result(PATIENCE_S)
    slow.goes_on = False
    assert first.result(PATIENCE_S) == "prepared"


@pytest.fixture
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOPWATCH", "WORK", "QUICK"):
        monkeypatch.setattr(machine_lock, name, tmp_path / name)


def test_who_pauses_for_a_quick_job_gives_it_the_turn_that_it_waits_for(
    pool: ThreadPoolExecutor, own_locks: None
) -> None:
    """A quick job that lets a download pass has the machine pause for itself meanwhile."""
    turns, downloaded, wanted = Turns(), threading.Event(), threading.Event()
    begun = list[Future[None]]()

    def download() -> None:
        with turns.turn(), machine_lock.work_turn():
            while not wanted.is_set():
                turns.pause(lambda: False)
                time.sleep(0.001)
            downloaded.set()

    def preparation() -> None:
        with turns.turn(), machine_lock.work_turn(quick=True):
            begun.append(pool.submit(download))
            assert until(turns.is_awaited)
            turns.let_pass()
            turns.let_pass()
        wanted.set()

    pool.submit(preparation).result(PATIENCE_S)
    assert downloaded.wait(PATIENCE_S)
    begun[0].result(PATIENCE_S)


def test_nobody_passes_while_computed_weights_are_kept(pool: ThreadPoolExecutor, own_locks: None) -> None:
    turns, order = Turns(), list[str]()

    def question() -> None:
        with turns.turn():
            order.append("question")

    with turns.turn():
        asked = pool.submit(question)
        assert until(turns.is_awaited)
        with parametrize.cached():
            turns.let_pass()
            turns.pause(lambda: False)
            order.append("kept")
        turns.let_pass()
        order.append("again")
    asked.result(PATIENCE_S)
    assert order == ["kept", "question", "again"]
