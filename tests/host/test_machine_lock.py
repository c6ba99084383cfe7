"""Turns on the machine: who times runs alone, and who trains lets the others pass. Real processes, real locks."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compression.errors import InvalidFile
from compression.host import machine_lock as lock
from compression.host.machine_lock import machine_lock, work_turn, yield_turn
from compression.jobs.cluster import ROOT

WORKER = """
import sys, time
from pathlib import Path
import before_compression
from compression.host import machine_lock as lock
lock.STOPWATCH, lock.WORK, lock.QUICK = map(Path, sys.argv[2:])
with lock.work_turn(quick=sys.argv[1] == "quick"):
    print("computing", flush=True)
    while True:
        lock.yield_turn(pausing=lambda: print("pausing", flush=True))
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
    return not lock.is_free(path, kind)


def test_who_steps_aside_twice_holds_nothing_afterwards() -> None:
    """A job that waits for another's result is asked for its turn too, while a measurement runs."""
    timing, go_on = threading.Event(), threading.Event()

    def measure() -> None:
        with machine_lock():
            timing.set()
            assert go_on.wait(30)

    measuring = threading.Thread(target=measure)
    with work_turn():
        with lock.aside():
            measuring.start()
            assert timing.wait(30)
            yield_turn(lambda: True)
            with lock.aside():
                yield_turn(lambda: True)
            go_on.set()
            measuring.join()
            assert lock.is_free(lock.WORK, fcntl.LOCK_EX)
        assert held(fcntl.LOCK_EX, lock.WORK)
    assert lock.is_free(lock.WORK, fcntl.LOCK_EX)


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
    with work_turn(quick=True):
        assert training.says() == "pausing"
        with machine_lock():
            assert held(lock.fcntl.LOCK_SH, lock.STOPWATCH)
        assert held(lock.fcntl.LOCK_EX, lock.WORK)  # it computes again
    assert lock.is_free(lock.QUICK, lock.fcntl.LOCK_EX)


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
        with work_turn():
            yield_turn(stopped.is_set, pausing=paused.set)

    thread = threading.Thread(target=train)
    thread.start()
    assert paused.wait(10)
    assert thread.is_alive()
    stopped.set()
    thread.join(1)
    assert not thread.is_alive()


def test_nobody_waits_for_nothing() -> None:
    yield_turn(pausing=lambda: pytest.fail("there is no reason"))  # outside of a job
    with work_turn():
        yield_turn(pausing=lambda: pytest.fail("there is no reason"))
        with work_turn(quick=True):  # inside of another: the outer one's manners count
            assert lock.is_free(lock.QUICK, lock.fcntl.LOCK_EX)
    assert lock.is_free(lock.WORK, lock.fcntl.LOCK_EX)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_lock_is_for_everybody() -> None:
    before = os.umask(0o077)
    try:
        with machine_lock():
            assert (mode(lock.STOPWATCH), mode(lock.WORK)) == (0o666, 0o666)
    finally:
        os.umask(before)
    assert sorted(lock.WORK.parent.iterdir()) == [lock.STOPWATCH, lock.WORK]


def test_what_a_link_leads_to_stays_as_it_is(tmp_path: Path) -> None:
    """A symbolic link is refused; through a hard link, which looks like a plain file, nothing is changed."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    lock.STOPWATCH.symlink_to(secret)
    with pytest.raises(InvalidFile, match="it is a symbolic link; remove it"):
        machine_lock().__enter__()
    lock.STOPWATCH.unlink()
    os.link(secret, lock.STOPWATCH)
    with machine_lock():
        pass
    assert (mode(secret), secret.read_text()) == (0o600, "mine")


@pytest.mark.parametrize(("plant", "what"), [
    (Path.mkdir, "Is a directory"),
    (os.mkfifo, "it is not a plain file"),
    (lambda path: path.symlink_to("nowhere"), "it is a symbolic link"),
    (lambda path: path.symlink_to("/dev/null"), "it is a symbolic link"),
])  # fmt: skip
def test_what_is_no_plain_file_is_refused_at_once(plant: Callable[[Path], object], what: str) -> None:
    plant(lock.WORK)
    with pytest.raises(InvalidFile, match=what):
        work_turn().__enter__()
    with pytest.raises(InvalidFile, match=what):
        machine_lock().__enter__()
    assert lock.is_free(lock.STOPWATCH, lock.fcntl.LOCK_EX)  # nothing is held by what failed


def test_two_who_make_the_lock_at_once_share_it() -> None:
    threads = [threading.Thread(target=lock.is_free, args=(lock.WORK, lock.fcntl.LOCK_SH)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in lock.WORK.parent.iterdir()] == ["work"]
