"""Trainings as jobs, on a real cluster: they learn, make way, are cancelled, survive crashes, stand in the store."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from compression.errors import Unsupported
from compression.jobs import questions
from compression.jobs.cluster import ROOT
from compression.jobs.joined import LONG
from compression.jobs.lab import Job, Lab, News, Request, Sweeping, Training
from compression.jobs.long_jobs import MAX_EPOCHS, with_steps
from compression.jobs.long_tasks import FOREIGN, PACE_EPOCHS, PAUSED, checkpoint
from compression.jobs.messages import Work
from compression.jobs.result_recorder import end_orphans, from_plain, this_program, title, to_plain
from compression.models import card
from compression.recipe import Recipe
from compression.records.analysis import LEVELS
from compression.records.measurement import LearningPoint
from compression.store import JobRecord, Store
from tests.own_lab import own_lab

PATIENCE_S = 180.0  # a cold engine on a busy machine
ENDLESS = 5000  # epochs

APP = """
import before_compression
from compression.jobs.lab import Lab, Training
lab = Lab()
job = lab.long.start(Training("lenet300", "digits", epochs=5000, seed=3))
news = job.news
while not news.curve or news.curve[-1].step <= 200:
    news = job.wait(after=news.number, timeout=600)
print(job.id, flush=True)
while True:
    news = job.wait(after=news.number, timeout=600)
"""


@pytest.fixture(scope="module")
def lab(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with own_lab("long", own_home, tmp_path_factory) as lab:
        yield lab


@pytest.fixture(autouse=True)
def nothing_left_at_work(lab: Lab) -> Iterator[None]:
    """A test that fails leaves no endless training behind, for which those after it would wait."""
    yield
    for job in lab.long.working:
        stopped(lab, job)


def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def ended(job: Job) -> News:
    assert until(lambda: job.news.state != "working")
    return job.news


def learning(job: Job, *, beyond: int = 0) -> int:
    """The step that the job has reached, once it is beyond one."""
    assert until(lambda: (job.news.curve and job.news.curve[-1].step > beyond) or job.news.state != "working")
    assert job.news.state == "working", job.news.sentence
    return job.news.curve[-1].step


def record(lab: Lab, job: Job) -> JobRecord:
    return lab.store.jobs.get(job.id)


def stopped(lab: Lab, job: Job) -> None:
    lab.long.cancel(job.id)
    assert until(lambda: record(lab, job).state == "cancelled")
    assert until(lambda: not any(job.id in key for key in at_work(lab)))


def at_work(lab: Lab) -> list[str]:
    """Keys of what the workers compute; beside jobs these are their warming and idle measurements."""
    assert lab._connection is not None
    return [str(key) for keys in lab._connection.client.processing().values() for key in keys]


def test_a_baseline_is_trained_measured_and_kept(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "digits", epochs=3))
    assert record(lab, job).open
    news = ended(job)
    assert news.state == "done", news.sentence
    assert news.curve[-1].step == news.curve[-1].steps
    assert [point.step for point in news.curve] == sorted({point.step for point in news.curve})
    known = card("lenet300", "digits")
    assert known.epochs == 3  # the user's own weights come first
    run = lab.store.run(news.run or "")
    assert (run.role, run.subject.weights_hash, run.job) == ("baseline", known.sha256, job.id)
    assert run.accuracy.n == 359
    assert known.test_accuracy is not None
    assert abs(run.accuracy.value - known.test_accuracy) < 0.01
    assert lab.store.curve(run) == list(news.curve)
    assert until(lambda: not record(lab, job).open)
    kept = record(lab, job)
    assert (kept.state, kept.run, kept.kind) == ("done", news.run, "train")
    assert kept.title == "LeNet-300-100 on Digits: training from scratch"
    assert kept.started is not None and kept.ended is not None
    assert kept.created <= kept.started <= kept.ended


def test_minutes_become_epochs_that_stand_in_the_request(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "digits", seed=1), minutes=0.05)
    assert ended(job).state == "done", job.news.sentence
    assert until(lambda: not record(lab, job).open)
    request = record(lab, job).request
    assert "minutes" not in request
    assert 1 <= request["epochs"] < 1000
    assert job.news.curve[-1].epoch == request["epochs"] - 1


def recovery(seed: int, steps: int = 40, **more: object) -> Request:
    settings = {"prune.sparsity": 0.9, "recover.steps": steps, "quality": "fast", "seed": seed}
    recipe = Recipe().with_settings(settings | {f"recover.{name}": value for name, value in more.items()})
    return Request("lenet300", "digits", "digits", recipe.to_json())


def test_a_recipe_that_trains_leaves_its_file_and_its_curve_in_the_store(lab: Lab) -> None:
    job = lab.long.start(recovery(1))
    news = ended(job)
    assert news.state == "done", news.sentence
    assert news.curve[-1].step == 40
    run = lab.store.run(news.run or "")
    assert run.recipe_json == recovery(1).recipe
    assert not checkpoint(recovery(1)).exists()
    assert lab.store.file(run) == news.file
    assert lab.store.curve(run) == list(news.curve)
    assert until(lambda: lab.store.baseline(run.subject) is not None)
    answer = lab.submit(recovery(1), owner="later")  # the page asks for the same recipe
    assert ended(answer).run == news.run
    assert answer.news.number == 1
    assert answer.news.curve == news.curve


def test_what_a_cancelled_training_has_learned_becomes_a_file(lab: Lab) -> None:
    job = lab.long.start(recovery(5, steps=100_000))
    learning(job)
    stopped(lab, job)
    ending = lab.long.finish(job.id)
    assert ended(ending).state == "done", ending.news.sentence
    run = lab.store.run(ending.news.run or "")
    until_step = int(run.recipe.get("recover").until)  # type: ignore[union-attr]
    assert run.recipe == Recipe.from_json(recovery(5, steps=100_000).recipe).with_setting("recover.until", until_step)
    assert until_step == ending.news.curve[-1].step
    assert 0 < until_step < 100_000
    assert until(lambda: not record(lab, job).open)
    assert record(lab, job).request == to_plain(recovery(5, 100_000, until=until_step), None)
    with pytest.raises(Unsupported, match="no result to keep"):
        lab.long.finish(job.id)
    further = lab.long.start(recovery(5, steps=100_000))
    assert learning(further) >= until_step  # from where the other one was kept
    stopped(lab, further)


def test_a_training_that_cannot_end_yet_stays_as_it_was(lab: Lab) -> None:
    closing = recovery(7, steps=100_000, schedule="cubic")
    job = lab.long.start(closing)
    reached = learning(job)
    stopped(lab, job)
    ending = lab.long.finish(job.id)
    assert ended(ending).state == "refused"
    assert "more and more weights go" in ending.news.sentence
    assert until(lambda: not record(lab, job).open)
    assert (ending.request, record(lab, job).request) == (closing, to_plain(closing, None))
    again = lab.long.resume(job.id)
    again.put(curve=())
    assert learning(again) >= reached
    stopped(lab, again)


def test_what_another_version_has_learned_is_not_learned_anew_to_be_kept(lab: Lab) -> None:
    request = recovery(8, steps=100_000)
    job = lab.long.start(request)
    learning(job)
    stopped(lab, job)
    assert until(checkpoint(request).exists)
    with safe_open(checkpoint(request), framework="np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, checkpoint(request), metadata=metadata | {"run": "of another version"})
    ending = lab.long.finish(job.id)
    assert (ended(ending).state, ending.news.sentence) == ("refused", FOREIGN)
    assert until(lambda: not record(lab, job).open)
    assert (ending.request, record(lab, job).request) == (request, to_plain(request, None))
    with safe_open(checkpoint(request), framework="np") as file:
        assert file.metadata()["run"] == "of another version"


def test_a_page_that_asks_for_a_training_keeps_no_slider_waiting(lab: Lab) -> None:
    training = lab.submit(recovery(2, steps=100_000), owner="trainer")
    learning(training)
    slider = lab.submit(Request("lenet300", "digits", "digits", Recipe().to_json()), owner="me")
    assert ended(slider).state == "done"
    assert training.news.state == "working"
    lab.submit(recovery(3, steps=1), owner="trainer")  # which overtakes the first
    assert training.news.state == "overtaken"


def test_somebody_elsewhere_cancels_and_it_goes_on_later(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "digits", epochs=ENDLESS, seed=2))
    assert lab.long.start(Training("lenet300", "digits", epochs=ENDLESS, seed=2)) is job  # the same one: not twice
    learning(job, beyond=200)
    other = Store.open()
    assert other.jobs.ask(job.id, "cancel")
    assert until(lambda: other.jobs.get(job.id).state == "cancelled")
    assert until(lambda: not any(lab._connection.client.processing().values()))  # type: ignore[union-attr]
    reached = job.news.curve[-1].step
    assert other.jobs.get(job.id).progress["step"] > 0
    again = lab.long.resume(job.id)
    assert again.id == job.id
    assert len(again.news.curve) >= len(job.news.curve)  # what was learned is on the curve from the beginning
    again.put(curve=())
    assert learning(again) >= reached  # from the checkpoint, not from the start
    assert record(lab, again).wanted is None
    stopped(lab, again)


def test_who_cancels_finds_it_in_the_book_even_while_another_writes_it(lab: Lab) -> None:
    writes, close = threading.Event(), lab._recorder.close_entry

    def slowly(job: str, **changes: object) -> bool:
        writes.set()
        time.sleep(0.5)
        return close(job, **changes)

    job = lab.long.start(Training("lenet300", "digits", epochs=ENDLESS, seed=7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab._recorder, "close_entry", slowly)
        job.stop()  # upon which the thread that carries it out writes down how it ended
        assert writes.wait(PATIENCE_S)
        lab.long.cancel(job.id)
        assert record(lab, job).state == "cancelled"


def test_a_slider_overtakes_a_training_which_then_goes_on(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "digits", epochs=ENDLESS, seed=4))
    learning(job)
    sentences = set()
    recipe = Recipe().with_setting("prune.sparsity", 0.37).to_json()
    slider = lab.submit(Request("lenet5", "digits", "digits", recipe), owner="me")
    while slider.news.state == "working":
        slider.wait(after=slider.news.number, timeout=0.01)
        sentences.add(job.news.sentence)
    assert slider.news.state == "done", slider.news.sentence
    assert PAUSED in sentences
    learning(job, beyond=job.news.curve[-1].step)
    stopped(lab, job)


def test_a_training_goes_on_by_itself_when_its_worker_is_killed(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "digits", epochs=ENDLESS, seed=5))
    assert until(lambda: job.news.curve and job.news.curve[-1].epoch >= 2)
    client = lab._connection.client  # type: ignore[union-attr]
    [worker] = [w for w, about in client.scheduler_info()["workers"].items() if about["name"] == LONG]
    pid = client.run(os.getpid, workers=[worker])[worker]
    os.kill(pid, signal.SIGKILL)
    reached = job.news.curve[-1].step
    assert until(lambda: "resuming from the last checkpoint" in job.news.sentence)
    job.put(curve=())
    assert learning(job) > reached / 2
    stopped(lab, job)


def test_a_training_is_resumed_when_its_app_was_killed(lab: Lab) -> None:
    command = [sys.executable, "-c", APP]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        name = app.stdout.readline().strip()
        try:
            assert until(lambda: lab.store.jobs.get(name).progress.get("step", 0) > 200)
            assert lab.store.jobs.get(name).state == "working"
            assert end_orphans(lab.store) == []  # it lives
        finally:
            app.send_signal(signal.SIGKILL)
    assert [job.id for job in end_orphans(lab.store)] == [name]
    found = lab.store.jobs.get(name)
    assert (found.state, found.open) == ("interrupted", False)
    reached = found.progress["step"]
    job = lab.long.resume(name)
    job.put(curve=())
    assert learning(job) > reached / 2
    assert record(lab, job).app == this_program()
    stopped(lab, job)
    lab.long.forget(name)
    assert name not in [each.id for each in lab.store.jobs.all()]


def test_what_was_stopped_and_is_begun_again_is_one_job(lab: Lab) -> None:
    job = lab.long.start(recovery(6, steps=100_000))
    reached = learning(job, beyond=200)
    stopped(lab, job)
    again = lab.long.start(recovery(6, steps=100_000))
    assert again.id == job.id
    again.put(curve=())
    assert learning(again) >= reached
    stopped(lab, again)
    assert lab.long.start(recovery(6, steps=100_000), minutes=0.01).id != job.id  # of other steps


def test_a_sweep_goes_on_in_the_background_and_its_curves_are_there_for_all(lab: Lab) -> None:
    job = lab.long.start(Sweeping("lenet300", "digits", "digits"))
    assert lab.long.start(Sweeping("lenet300", "digits", "digits")) is job
    news = ended(job)
    assert (news.state, news.sentence) == ("done", "All 3 layers"), news.sentence
    plain = Request("lenet300", "digits", "digits", Recipe().to_json())
    found = lab.ask(questions.known_sensitivities, plain).result(60)
    assert list(found) == ["1", "3", "5"]
    assert all(curves.dense > 0.9 and len(curves.points) == sum(map(len, LEVELS.values())) for curves in found.values())
    assert until(lambda: not record(lab, job).open)
    assert (record(lab, job).kind, record(lab, job).state) == ("sweep", "done")


def test_a_mistake_is_a_sentence_in_the_list(lab: Lab) -> None:
    job = lab.long.start(Training("lenet300", "cifar7"))
    assert ended(job).state == "refused"
    assert until(lambda: not record(lab, job).open)
    assert "Unknown dataset 'cifar7'" in record(lab, job).sentence


@pytest.mark.parametrize(("minutes", "epochs"), [(1.0, 600 // 52), (1e-9, 1), (1e9, MAX_EPOCHS)])
def test_minutes_become_steps_by_the_measured_speed(minutes: float, epochs: int) -> None:
    steps = 52 * PACE_EPOCHS
    point = LearningPoint(20, steps, epoch=0, loss=1.0, accuracy=None, seconds_left=0.1 * (steps - 20))
    training = with_steps(Training("lenet5", "digits"), point, minutes)
    assert isinstance(training, Training)
    assert training.epochs == epochs
    recipe = Recipe().with_setting("recover.steps", 520)
    kept = recipe.with_setting("recover.until", 20)  # where an earlier one was kept
    learner = with_steps(Request("lenet5", "digits", "digits", kept.to_json()), point, 1.0)
    assert isinstance(learner, Request)
    assert Recipe.from_json(learner.recipe) == recipe.with_setting("recover.steps", 600)


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("train", Training("lenet5", "digits", 4, 2)),
        ("compress", Request("lenet5", "a", "b", Recipe().to_json(), 2)),
        ("sweep", Sweeping("lenet5", "a", "b")),
    ],
)
def test_a_request_comes_back_from_the_book(kind: str, work: Work) -> None:
    assert from_plain(kind, to_plain(work, 2.5)) == (work, 2.5)
    assert from_plain(kind, to_plain(work, None)) == (work, None)
    assert title(work).startswith("LeNet-5 (Caffe) on ")


@pytest.mark.slow
def test_a_program_that_ends_leaves_its_training_to_be_resumed(lab: Lab) -> None:
    with subprocess.Popen([sys.executable, "-c", APP], cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        name = app.stdout.readline().strip()
        app.send_signal(signal.SIGINT)
    assert lab.store.jobs.get(name).state == "interrupted"
    assert lab.store.jobs.get(name).progress["step"] > 0
