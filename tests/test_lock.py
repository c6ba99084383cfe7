"""Turns on the machine: who times runs alone, and who trains lets the others pass. Real processes, real locks."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compression.cluster import ROOT
from compression.measure import lock
from compression.measure.lock import computing, give_way, machine_lock

WORKER = """
import sys, time
from pathlib import Path
import before_compression
from compression.measure import lock
lock.STOPWATCH, lock.WORK, lock.QUICK = map(Path, sys.argv[2:])
with lock.computing(quick=sys.argv[1] == "quick"):
    print("computing", flush=True)
    while True:
        lock.give_way(pausing=lambda: print("pausing", flush=True))
        time.sleep(0.005)
"""


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Locks of the test's own, so that nobody else on the machine is in its way."""
    paths = [tmp_path / name for name in ("stopwatch", "work", "quick")]
    for name, path in zip(("STOPWATCH", "WORK", "QUICK"), paths, strict=True):
        monkeypatch.setattr(lock, name, path)
    return [str(path) for path in paths]


class Other:
    """Another process that computes until it is killed."""

    def __init__(self, kind: str, files: list[str]):
        command = [sys.executable, "-c", WORKER, kind, *files]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.says() == "computing"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def training(own_files: list[str]) -> Iterator[Other]:
    other = Other("training", own_files)
    yield other
    other.kill()


@pytest.fixture
def slider(own_files: list[str]) -> Iterator[Other]:
    other = Other("quick", own_files)
    yield other
    other.kill()


def held(kind: int, path: Path) -> bool:
    return not lock._free(path, kind)


def test_who_times_waits_for_all_who_compute_to_pause(training: Other, slider: Other) -> None:
    assert training.says() == "pausing"  # for the slider
    with machine_lock():
        assert slider.says() == "pausing"
        assert held(lock.fcntl.LOCK_SH, lock.WORK)  # nobody else computes
    deadline = time.monotonic() + 10
    while not held(lock.fcntl.LOCK_EX, lock.WORK) and time.monotonic() < deadline:  # they go on
        time.sleep(0.01)
    assert held(lock.fcntl.LOCK_EX, lock.WORK)


def test_who_computes_may_take_the_time_itself(training: Other) -> None:
    with computing(quick=True):
        assert training.says() == "pausing"
        with machine_lock():
            assert held(lock.fcntl.LOCK_SH, lock.STOPWATCH)
        assert held(lock.fcntl.LOCK_EX, lock.WORK)  # it computes again
    assert lock._free(lock.QUICK, lock.fcntl.LOCK_EX)


def test_a_process_that_is_killed_lets_go(training: Other, slider: Other) -> None:
    assert training.says() == "pausing"
    slider.kill()
    deadline = time.monotonic() + 10
    while not held(lock.fcntl.LOCK_EX, lock.WORK) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held(lock.fcntl.LOCK_EX, lock.WORK)  # the training goes on


def test_a_pause_ends_when_the_job_is_stopped(slider: Other) -> None:
    stopped, paused = threading.Event(), threading.Event()

    def train() -> None:
        with computing():
            give_way(stopped.is_set, pausing=paused.set)

    thread = threading.Thread(target=train)
    thread.start()
    assert paused.wait(10)
    assert thread.is_alive()
    stopped.set()
    thread.join(1)
    assert not thread.is_alive()


def test_nobody_waits_for_nothing() -> None:
    give_way(pausing=lambda: pytest.fail("there is no reason"))  # outside of a job
    with computing():
        give_way(pausing=lambda: pytest.fail("there is no reason"))
        with computing(quick=True):  # inside of another: the outer one's manners count
            assert lock._free(lock.QUICK, lock.fcntl.LOCK_EX)
    assert lock._free(lock.WORK, lock.fcntl.LOCK_EX)
