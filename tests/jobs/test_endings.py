"""How trainings are ended, taken up again and forgotten: what that does to the book and to what they have learned."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from compression import store
from compression.errors import Cancelled, StoreUnavailable, Unsupported
from compression.host.atomic_files import STALE_S, atomic_write
from compression.host.engine_version import engine_hash
from compression.host.machine import this_machine
from compression.jobs import long_jobs, long_tasks, worker
from compression.jobs.channel import TaskChannel
from compression.jobs.cluster import ClusterConnection
from compression.jobs.lab import LOST, Job
from compression.jobs.long_jobs import BROKEN, LongJobs
from compression.jobs.long_tasks import checkpoint, so_far
from compression.jobs.messages import Refusal, Request, Training
from compression.jobs.result_recorder import CHANGED, ResultRecorder, from_plain, this_program, title, to_plain
from compression.pipeline import compress as pipeline
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Interval, LearningPoint, Measurement, Predictions
from compression.store import Store
from compression.store.files import write_file
from compression.store.jobs import JobBook
from pages.ui.explore import training
from pages.ui.model.subject import Subject
from pages.ui.state import choice_jobs
from pages.ui.state.choice_jobs import ChoiceJobs
from pages.ui.state.visit import Visit

DIGITS = Subject("lenet300", "digits", "digits")
SUBJECT = store.Subject("lenet300", "digits", "digits", "a" * 64, "b" * 64)
STEPS = 200_000
SILENT = TaskChannel(lambda kind, **news: None, lambda: False)
ACCURACY = Accuracy(0.9, Interval(0.8, 1.0), 1, 0.9, 0.0)


def recipe(**settings: Any) -> Recipe:
    of_recover = {"recover.steps": STEPS} | {f"recover.{name}": value for name, value in settings.items()}
    return Recipe().with_settings({"prune.sparsity": 0.9} | of_recover)


def request(**settings: Any) -> Request:
    return Request(DIGITS.model, DIGITS.weights, DIGITS.dataset, recipe(**settings).to_json())


def learned(what: Request, step: int) -> Path:
    """What `what` keeps when it was stopped at a step."""
    path = checkpoint(what)
    save_file({"total": np.zeros(1)}, path, metadata={"run": "", "step": str(step), "history": "[]"})
    return path


@dataclass
class Desk:
    """Long jobs with a home of their own and no cluster: what is begun waits for it."""

    long: LongJobs
    store: Store

    @property
    def book(self) -> JobBook:
        return self.store.jobs

    def enter(self, what: Request, *, machine: str = "", **changes: Any) -> str:
        """A job that was stopped at step 300, here or on another machine."""
        job, app = Job(what).id, this_program()
        app |= {"machine": machine or app["machine"]}
        self.book.add(job, kind="compress", title=title(what), request=to_plain(what, None), app=app)
        self.book.put(job, **{"state": "cancelled", "progress": {"step": 300, "steps": STEPS}} | changes)
        return job


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    ended, recorder = threading.Event(), ResultRecorder()

    def connection() -> ClusterConnection:
        ended.wait()
        raise OSError("There is no cluster.")

    long = LongJobs(recorder, connection, "topic", lambda found: None)
    yield Desk(long, recorder.store)
    long.close()
    ended.set()


@pytest.mark.parametrize(
    ("settings", "step", "why"),
    [
        ({"schedule": "cubic"}, 300, "Until step 133,333 more and more weights go"),
        ({"until": 1000}, 50_000, "This training has no checkpoint"),  # another one has
        ({}, 0, "This training has no checkpoint"),
    ],
)
def test_a_training_is_not_ended_where_it_leaves_no_network(
    desk: Desk, settings: dict[str, Any], step: int, why: str
) -> None:
    learned(request(**settings), step)
    with pytest.raises(Unsupported, match=why):
        so_far(request(**settings))


def test_a_training_ends_where_it_was_stopped(desk: Desk) -> None:
    learned(request(), 300)
    assert so_far(request()) == request(until=300)
    learned(request(schedule="cubic"), 133_334)
    assert so_far(request(schedule="cubic")) == request(schedule="cubic", until=133_334)


def test_what_a_stopped_training_still_puts_away_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "task_channel", lambda topic, job: SILENT)
    late = threading.Timer(0.3, learned, (request(), 300))
    late.start()
    assert long_tasks.end(request(), "topic", "job") == request(until=300)
    late.join()


@pytest.mark.parametrize(("settings", "stays"), [({}, False), ({"until": 300}, True)])
def test_what_was_learned_goes_when_what_a_whole_training_has_made_is_kept(
    desk: Desk, settings: dict[str, Any], stays: bool
) -> None:
    path = learned(request(**settings), 300)
    long_jobs._clear(request(**settings))
    assert path.exists() == stays


@pytest.mark.parametrize("fails", [False, True])
def test_the_worker_leaves_what_was_learned_until_its_result_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def work(*about: Any) -> str:
        if fails:  # while the file is measured
            raise Cancelled("The work was stopped.")
        return "outcome"

    monkeypatch.setattr(worker, "task_channel", lambda topic, job: SILENT)
    monkeypatch.setattr(worker, "work", work)
    path = learned(request(), 300)
    found = long_tasks.compress(request(), "topic", "job")
    assert found == (Refusal("") if fails else "outcome")
    assert path.exists()


def soon(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def trying(desk: Desk, monkeypatch: pytest.MonkeyPatch, begins: Callable[[int], bool]) -> tuple[int, str]:
    """How often a job is sent whose worker always dies, and what its last news say."""
    sent: list[int] = []

    def dies(long: LongJobs, entry: long_jobs.Entry, task: Any) -> None:
        sent.append(1)
        if begins(len(sent)):
            entry.job.put(sentence="Loading the engine")

    monkeypatch.setattr(LongJobs, "_send", dies)
    job = Job(request())
    desk.long._run_until_ended(long_jobs.Entry(job, request(), None, 0), long_tasks.compress)
    return len(sent), job.news.sentence


def test_a_job_is_given_up_for_its_own_crashes_and_not_for_those_of_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trying(desk, monkeypatch, lambda count: True) == (long_jobs.MAX_CRASHES, long_jobs.GOING_ON)
    count, _ = trying(desk, monkeypatch, lambda count: count > 7)  # it waited seven times, then began
    assert count == 7 + long_jobs.MAX_CRASHES
    assert trying(desk, monkeypatch, lambda count: False)[0] == long_jobs.MAX_EARLY_CRASHES


@pytest.mark.parametrize("ending", [False, True])
def test_a_job_whose_worker_dies_before_it_begins_is_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ending: bool
) -> None:
    monkeypatch.setattr(LongJobs, "_send", lambda long, entry, task: None)
    job = desk.long.finish(desk.enter(request())) if ending else desk.long.start(request(), minutes=3.0)
    assert soon(lambda: not desk.book.get(job.id).open)
    found = desk.book.get(job.id)
    assert (found.state, found.sentence) == ("lost", LOST)
    assert from_plain(found.kind, found.request) == (request(), None if ending else 3.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_that_nobody_has_thought_of_ends_the_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*about: Any) -> None:
        raise KeyError("steps")

    monkeypatch.setattr(LongJobs, "_send", fails)
    job = desk.long.start(request())
    assert soon(lambda: not desk.book.get(job.id).open)
    assert desk.book.get(job.id).state == "refused"
    assert desk.book.get(job.id).sentence == BROKEN


def test_a_job_that_is_begun_when_the_recording_thread_has_just_ended_has_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, gone, begun = LongJobs._entries_to_record, threading.Event(), threading.Event()

    def slow(long: LongJobs) -> list[long_jobs.Entry]:
        found = look(long)
        if not found:
            gone.set()
            begun.wait()
        return found

    monkeypatch.setattr(LongJobs, "_entries_to_record", slow)
    desk.long.cancel(desk.long.start(request()).id)
    assert gone.wait(30)  # on its way out
    job = desk.long.start(request(alpha=0.5))
    begun.set()
    desk.book.ask(job.id, "cancel")  # from elsewhere, which the recording thread reads
    assert soon(lambda: desk.book.get(job.id).state == "cancelled")


def test_an_ending_that_the_store_did_not_take_is_written_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.long.start(request())
    with monkeypatch.context() as patch:
        patch.setattr(ResultRecorder, "close_entry", lambda recorder, job, **about: False)
        desk.long.cancel(job.id)
    assert soon(lambda: not desk.book.get(job.id).open)
    assert desk.book.get(job.id).state == "cancelled"
    assert soon(lambda: desk.long.get(job.id) is None)


def test_a_file_that_cannot_be_kept_is_a_sentence(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    empty = Predictions(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float16))
    measured = Measurement("r", "f", ACCURACY, 1, 1, None, 1, 1, 1, 1.0, this_machine(), empty)
    with pytest.raises(StoreUnavailable, match="The file cannot be kept in"):
        write_file(b"onnx", measured)


def test_what_programs_left_that_were_killed_while_they_wrote_is_removed(tmp_path: Path) -> None:
    stale, fresh = tmp_path / ".partial-1", tmp_path / ".partial-2"
    for path, age in ((stale, STALE_S + 60), (fresh, 60)):
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    with atomic_write(tmp_path / "file") as partial:
        partial.touch()
    assert set(tmp_path.iterdir()) == {tmp_path / "file", fresh}


def made_by(engine: str) -> Any:
    return SimpleNamespace(
        subject=SUBJECT, edition=None, role="candidate", recipe=Recipe().to_json(), maker=engine
    )  # fmt: skip


def test_that_files_of_the_program_changed_since_its_start_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start later have the new engine, whose results are no answer to this program's requests."""
    recorder = desk.long._recorder
    monkeypatch.setattr(ResultRecorder, "_keep", lambda *about: None)
    for engine, said in (("0" * 12, CHANGED), (engine_hash(), "")):
        assert recorder.keep(made_by(engine))
        assert recorder.wishes([]) == set()
        assert recorder.trouble == said


def test_that_a_result_was_not_kept_is_said_until_one_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, outcome = desk.long._recorder, made_by(engine_hash())

    def full(*about: Any) -> None:
        raise StoreUnavailable("The disk is full.")

    for keep_, troubles in ((full, "The disk is full."), (lambda *about: None, "")):
        monkeypatch.setattr(ResultRecorder, "_keep", keep_)
        assert recorder.keep(outcome) == (not troubles)
        assert recorder.wishes([]) == set()  # the store answers
        assert recorder.trouble == troubles
    with monkeypatch.context() as patch:
        patch.setattr(JobBook, "hear", full)
        recorder.wishes([])
    assert recorder.trouble
    recorder.wishes([])
    assert not recorder.trouble


def test_the_speed_is_measured_on_the_whole_training(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Recipe] = []
    points = [LearningPoint(step, STEPS, 0, 1.0, None, 100.0) for step in (10, 20)]

    def compress(prepared: None, recipe: Recipe, *, learn: Callable[[LearningPoint], None], **_: Any) -> None:
        begun.append(recipe)
        for point in points:
            learn(point)

    monkeypatch.setattr(worker, "task_channel", lambda topic, job: SILENT)
    monkeypatch.setattr(worker, "prepared", lambda request: None)
    monkeypatch.setattr(pipeline, "compress_prepared", compress)
    assert long_tasks.pace(request(until=15), "topic", "job") == points[-1]
    assert [recipe.until for recipe in begun] == [0]


@pytest.mark.parametrize("work", [request(steps=1), request(steps=2), Training("lenet300", "digits", epochs=1)])
def test_the_speed_of_a_training_that_is_soon_over_is_measured_too(
    work: Request | Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "task_channel", lambda topic, job: SILENT)
    point = long_tasks.pace(work, "topic", "job")
    assert isinstance(point, LearningPoint)
    assert 0 < point.step < point.steps
    assert point.seconds_left > 0


def test_a_job_that_is_removed_takes_nothing_from_others(desk: Desk) -> None:
    path = learned(request(), 50_000)
    first, second = desk.enter(request()), desk.enter(request(until=1000), state="done")
    desk.book.add("other", kind="compress", title="?", request={"of": "another version"}, app={})
    desk.long.forget(second)
    assert path.exists()
    desk.long.forget(first)
    assert not path.exists()


def test_an_open_job_is_not_removed(desk: Desk) -> None:
    job = desk.long.start(request())
    with pytest.raises(Unsupported, match="is queued or running; cancel it before removing it"):
        desk.long.forget(job.id)
    assert desk.book.get(job.id).open


def test_what_another_machine_has_learned_is_neither_taken_up_nor_ended_here(desk: Desk) -> None:
    theirs = desk.enter(request(), machine="there")
    with pytest.raises(Unsupported, match="no result to keep here"):
        desk.long.finish(theirs)
    assert desk.long.start(request()).id != theirs
    record = desk.book.get(theirs)
    assert (record.state, record.app["machine"]) == ("cancelled", "there")


def test_nothing_is_ended_that_has_not_learned(desk: Desk) -> None:
    with pytest.raises(Unsupported, match="no result to keep here"):
        desk.long.finish(desk.enter(request(), progress={"step": 0, "steps": STEPS}))


def test_what_was_stopped_goes_on_with_the_priority_that_is_asked(desk: Desk) -> None:
    mine = desk.enter(request(), priority=2)
    job = desk.long.start(request(), priority=5)
    assert job.id == mine
    assert desk.long._entries[mine].priority == desk.book.get(mine).priority == 5
    other = desk.enter(request(until=7), priority=3)
    desk.long.resume(other)
    assert desk.long._entries[other].priority == desk.book.get(other).priority == 3


def test_what_works_already_is_not_begun_beside_it_by_an_older_twin(desk: Desk) -> None:
    job = desk.long.start(request())
    older = desk.enter(request())
    assert desk.long.start(request()) is job
    assert desk.book.get(older).state == "cancelled"


def test_the_minutes_of_a_training_that_is_at_work_are_not_dropped(desk: Desk) -> None:
    job = desk.long.start(request(), minutes=3.0)
    assert desk.long.start(request(), minutes=3.0) is job
    for minutes in (None, 5.0):
        with pytest.raises(Unsupported, match="is running; cancel it before starting another one"):
            desk.long.start(request(), minutes=minutes)
    assert len(desk.book.all()) == 1


def test_the_book_knows_the_step_of_a_job_that_is_stopped_at_once(desk: Desk) -> None:
    job = desk.long.start(request())
    point = {"step": 10, "steps": STEPS, "epoch": 0, "loss": 1.0, "accuracy": None, "seconds_left": 1.0}
    job.hear({"kind": "learned", "point": point})
    desk.long.cancel(job.id)
    assert (desk.book.get(job.id).state, desk.book.get(job.id).progress["step"]) == ("cancelled", 10)


def test_a_recipe_with_another_setting_is_trained_to_its_own_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice_jobs, "lab", lambda: desk)
    here = Visit(DIGITS, recipe())
    here.jobs = ChoiceJobs(latest=Job(request(until=300)), asked=here.choice)  # as `finish` has settled it
    assert here.settle()
    assert (
        here.recipe == here.jobs.trained(here.choice).recipe == recipe(until=300)
    )  # measured again, it is the same one
    here.recipe = recipe(until=300, alpha=0.5)
    assert here.jobs.trained(here.choice).recipe == recipe(alpha=0.5)
    here.train()
    assert here.jobs.latest is not None and here.jobs.latest.request == request(alpha=0.5)
    assert here.settle()
    assert here.recipe == recipe(alpha=0.5)
    here.recipe = recipe(until=1000)  # which the user has asked for
    assert here.jobs.trained(here.choice).recipe == recipe(until=1000)


@pytest.mark.parametrize("button", [Visit.train, Visit.keep])
def test_a_store_that_fails_is_a_sentence_beside_the_buttons_of_a_training(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, button: Callable[[Visit], None]
) -> None:
    def fails(*about: Any, **more: Any) -> Job:
        raise StoreUnavailable("The store cannot be used.")

    monkeypatch.setattr(choice_jobs, "lab", lambda: desk)
    monkeypatch.setattr(JobBook, "add", fails)
    monkeypatch.setattr(JobBook, "get", fails)
    here = Visit(DIGITS, recipe(), jobs=ChoiceJobs(latest=Job(request())))
    button(here)
    assert here.notice == ("The store cannot be used.",)
    assert not here.jobs.can_keep(here.choice)


def test_a_store_that_fails_is_a_sentence_where_a_network_is_trained_from_scratch(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*about: Any, **more: Any) -> None:
        raise StoreUnavailable("The store cannot be used.")

    def script() -> None:
        from pages.ui.explore import training

        training._begin("lenet300", "digits")

    monkeypatch.setattr(training, "lab", lambda: desk)
    monkeypatch.setattr(JobBook, "add", fails)
    monkeypatch.setattr(training, "shown", {"baseline.minutes": 1.0}.__getitem__)
    assert [toast.value for toast in AppTest.from_function(script).run().toast] == ["The store cannot be used."]


def test_a_training_that_was_stopped_in_another_tab_can_be_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (choice_jobs, training):
        monkeypatch.setattr(module, "lab", lambda: desk)
    here = Visit(DIGITS, recipe())
    assert training.stopped_curve(here) == ()
    assert not here.jobs.can_keep(here.choice)
    job, point = desk.enter(request()), LearningPoint(300, STEPS, 0, 1.0, 0.9, 100.0)
    desk.book.learn(job, [point])
    assert training.stopped_curve(here) == (point,)
    assert here.jobs.can_keep(here.choice)
    here.keep()
    assert here.jobs.latest is not None and here.jobs.latest.id == job
    assert desk.long._entries[job].ending


def test_the_button_says_at_which_step_the_training_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (choice_jobs, training):
        monkeypatch.setattr(module, "lab", lambda: desk)

    def script(query: str, kept: str) -> None:
        from compression.recipe import Recipe
        from pages.ui.explore import training
        from pages.ui.model.choice import Choice
        from pages.ui.model.subject import Subject
        from pages.ui.state.choice_jobs import ChoiceJobs
        from pages.ui.state.visit import Visit

        digits = Subject("lenet300", "digits", "digits")
        jobs = ChoiceJobs(kept=Choice(digits, Recipe.from_query(kept)))
        training.offer(Visit(digits, Recipe.from_query(query), jobs=jobs))

    def said(now: Recipe, kept: Recipe) -> str:
        about = {"query": now.to_query(), "kept": kept.to_query()}
        return AppTest.from_function(script, kwargs=about).run().button(key="train.steps").label

    assert said(recipe(until=1000), recipe(until=300)) == "Train 1,000 steps"
    assert said(recipe(until=300), recipe(until=300)) == "Train 300 steps"
    assert said(recipe(until=300, alpha=0.5), recipe(until=300)) == "Train 200,000 steps"
