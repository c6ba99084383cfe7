"""Searches on a real cluster: every trial is a run, test images are read at the end, crashes cost a trial at most."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compression.cli import search as command
from compression.jobs.cluster import ROOT
from compression.jobs.joined import LONG
from compression.jobs.lab import Lab
from compression.jobs.result_recorder import end_orphans
from compression.jobs.search import SearchView, search, search_of, search_view, searches
from compression.recipe import Recipe
from compression.searching.settings import SearchSettings
from tests.own_lab import own_lab

PATIENCE_S = 180.0
QUICK = ("quantize", "share")

APP = """
import before_compression
from compression.jobs.lab import Lab
from compression.jobs.search import search_of
from compression.searching.settings import SearchSettings
lab = Lab()
settings = SearchSettings(minutes=100, trials=10, techniques=["quantize", "share"])
job = lab.long.start(search_of("lenet300", "digits", settings))
print(job.id, flush=True)
news = job.news
while news.state == "working":
    news = job.wait(after=news.number, timeout=600)
    print(news.sentence, flush=True)
"""


@pytest.fixture(scope="module")
def lab(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with own_lab("searches", own_home, tmp_path_factory) as lab:
        yield lab


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def seen(lab: Lab, job: str) -> SearchView:
    found = search_view(lab.store, job)
    assert found is not None
    return found


def test_a_search_keeps_every_trial_and_reads_the_test_images_for_its_front_alone(lab: Lab) -> None:
    told: list[str] = []
    found = search(
        "lenet300", "digits", lab=lab, progress=lambda said, share: told.append(said), minutes=100, trials=8,
        drop=0.03, size_bytes=150_000, techniques=("prune", "quantize"), minimise="size",
    )  # fmt: skip
    assert len(found.trials) == 8
    assert any("8 trials" in said for said in told)
    best = found.best
    assert best is not None and best.found is not None
    assert best.found.size_bytes <= 150_000 and best.found.drop <= 0.03
    done = [trial for trial in found.trials if trial.state == "complete"]
    assert done and found.front
    runs = {trial.run: lab.store.run(trial.run) for trial in done}
    tested = {trial.run for trial in found.front} | {best.run}
    assert {run for run, kept in runs.items() if kept.full} == tested
    for trial in done:
        kept = runs[trial.run]
        assert kept.recipe == Recipe.from_json(trial.recipe)
        assert trial.found is not None and kept.size_bytes == trial.found.size_bytes
        assert kept.latency is not None and kept.job == found.job
        assert kept.accuracy.split == ("test" if trial.run in tested else "validation")
        assert (trial.test_accuracy is not None) == (trial.run in tested)
        assert kept.n_test == 359
        if trial.run in tested:
            assert (kept.accuracy.value, kept.accuracy.n) == (trial.test_accuracy, 359)
            assert lab.store.file(kept) is not None and len(lab.store.layers(trial.run)) == 3
    printed = command.plain(found)
    assert {"best", "front", "trials", "seconds"} <= printed.keys()
    assert {"recipe", "accuracy", "size_bytes", "latency_ratio", "run"} <= printed["best"].keys()
    assert printed["best"]["run"] == best.run and printed["trials"] == 8
    assert any(row[0] == "best" for row in command.rows(found))


@pytest.mark.slow
def test_a_search_goes_on_after_its_program_and_its_worker_were_killed(lab: Lab) -> None:
    program = subprocess.Popen([sys.executable, "-c", APP], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    name = program.stdout.readline().strip()
    assert any(line.startswith(("3 trials", "4 trials", "5 trials")) for line in program.stdout)
    program.kill()
    program.wait()
    before = seen(lab, name)
    assert [record.id for record in end_orphans(lab.store)] == [name]
    job = lab.long.resume(name)
    assert until(lambda: len(seen(lab, name).trials) > len(before.trials))
    kill_the_worker(lab)
    assert until(lambda: job.news.state != "working")
    assert job.news.state == "done", job.news.sentence
    found = seen(lab, name)
    assert len(found.trials) == 10
    assert [t.number for t in found.trials[: len(before.trials)]] == [t.number for t in before.trials]
    recipes = [t.recipe for t in found.trials]
    assert len(set(recipes)) == len(recipes)
    assert all(t.state != "failed" for t in found.trials), [t.why for t in found.trials]
    assert found.seconds > before.seconds
    assert searches(lab.store, "lenet300", "digits")[0].id == name


def kill_the_worker(lab: Lab) -> None:
    client = lab._connection.client  # type: ignore[union-attr]
    [worker] = [w for w, about in client.scheduler_info()["workers"].items() if about["name"] == LONG]
    os.kill(client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)


def test_a_search_that_is_cancelled_ends_at_once_and_goes_on_when_it_is_asked_for_again(lab: Lab) -> None:
    wanted = search_of("lenet300", "digits", SearchSettings(minutes=100, trials=9, techniques=QUICK, seed=9))
    job = lab.long.start(wanted)
    assert until(lambda: job.news.sentence.startswith("1 trials") or job.news.state != "working")
    lab.long.cancel(job.id)
    assert job.news.state == "overtaken"
    assert lab.store.jobs.get(job.id).state == "cancelled"
    assert lab.long.start(wanted).id == job.id
    assert until(lambda: lab.store.jobs.get(job.id).state == "done")
    assert len(seen(lab, job.id).trials) == 9
