"""Long jobs: trainings and sweeps that are queued and listed in the store.

A job goes on by itself after a crash of its worker. After one of the app it is marked as interrupted, and goes on from
its last checkpoint when somebody resumes it."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distributed import Future

from compression.errors import Unsupported, UserError, WorkerLost
from compression.jobs import long_tasks, permits
from compression.jobs.cluster import ClusterConnection
from compression.jobs.job import Job, failure_sentence, result
from compression.jobs.joined import GPU
from compression.jobs.long_tasks import PACE_EPOCHS
from compression.jobs.messages import Outcome, Refusal, Request, Searching, Sweeping, Training, Work
from compression.jobs.result_recorder import KINDS, ResultRecorder, from_plain, this_program, title, to_plain
from compression.jobs.search_runs import SearchRun
from compression.jobs.worker import run_patiently
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.steps import steps_for
from compression.store.records import RESUMABLE, JobRecord

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often news are stored, and requests of other programs to cancel a job are read."""

MAX_CRASHES = 3
"""A job ends after so many crashes in a row without a training step in between."""

MAX_EARLY_CRASHES = 100
"""So often a job may lose its worker before it has begun."""

WAITING = "Waiting in the queue"
NOT_KEPT = "The result could not be stored, but the checkpoint was: resume the job once the problem is fixed."
GOING_ON = "The worker stopped; resuming from the last checkpoint"

BROKEN = "Something went wrong inside the program; its log says what."

GONE = (CancelledError, NameError, OSError, RuntimeError, TimeoutError)
"""What Dask raises where the cluster is gone or the program ends. NameError: of an event loop that was closed."""

MAX_EPOCHS = 10_000


@dataclass
class Entry:
    """A long job that is carried out here."""

    job: Job
    work: Work
    minutes: float | None
    priority: int
    ending: bool = False
    begun: bool = False
    closed: bool = False
    written: int = -1  # number of the last news that are stored
    seen: int = -1  # last step of the curve that is stored
    closing: threading.Lock = field(default_factory=threading.Lock, compare=False)


class LongJobs:
    """Runs trainings on the cluster's worker for long jobs, one after the other, those of a higher priority first."""

    def __init__(
        self,
        recorder: ResultRecorder,
        connection: Callable[[], ClusterConnection],
        topic: str,
        kept: Callable[[Outcome], None],
    ):
        self._recorder, self._connection, self._topic, self._kept = recorder, connection, topic, kept
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._record_thread: threading.Thread | None = None

    def get(self, job: str) -> Job | None:
        """The job with this id, if it is carried out here now."""
        entry = self._entries.get(job)
        return entry.job if entry else None

    @property
    def working(self) -> list[Job]:
        """The jobs that wait or work here, in the order in which they were started."""
        return [entry.job for entry in list(self._entries.values()) if entry.job.news.state == "working"]

    def find(self, work: Work) -> Job | None:
        """The job that carries out this very work here now."""
        same = self._same(work)
        return same.job if same else None

    def _same(self, work: Work) -> Entry | None:
        entries = [entry for entry in list(self._entries.values()) if entry.work == work]
        return next((entry for entry in entries if entry.job.news.state == "working"), None)

    def start(self, work: Work, *, minutes: float | None = None, priority: int = 0) -> Job:
        """Begins a piece of work, or goes on with the same one where it waits, works or was stopped.

        `minutes` become the recipe's steps (or the training's epochs) by the speed that is measured first. Raises
        `StoreUnavailable`, `Unsupported` where the same one waits or works for another time, and `NotAllowed`.
        """
        permits.check_work(work)
        with self._lock:
            if same := self._same(work):
                if same.minutes != minutes:
                    raise Unsupported(f"The job {title(work)!r} is running; cancel it before starting another one.")
                return same.job
            if minutes is None and (left := self.left(work)):
                with suppress(UserError):  # another program has resumed it first
                    return self._resume(left.id, priority=priority)
            job = Job(work)
            self._recorder.enter(job.id, work, minutes=minutes, priority=priority, member=job.meter.member.name)
            return self._start(Entry(job, work, minutes, priority))

    def left(self, work: Work) -> JobRecord | None:
        """The job of the same work that was stopped last on this machine, if there is one. Raises `UserError`."""
        wanted, here = (KINDS[type(work)], to_plain(work, None)), this_program()["machine"]
        left = self._recorder.store.jobs.all(states=RESUMABLE)
        return next((j for j in left if (j.kind, j.request) == wanted and j.app.get("machine") == here), None)

    def resume(self, job: str) -> Job:
        """Goes on with a job that stopped, where its last checkpoint is. Raises `UserError`."""
        permits.check_owner(lambda: self._recorder.store.jobs.get(job))
        permits.check_work()
        with self._lock:
            return self._resume(job)

    def _resume(self, job: str, *, ending: bool = False, priority: int | None = None) -> Job:
        """The same, or it is ended there; `priority` takes the place of the one that it had."""
        if (entry := self._entries.get(job)) and entry.job.news.state == "working":
            return entry.job
        book = self._recorder.store.jobs
        record = book.get(job)
        work, minutes = from_plain(record.kind, record.request)
        if not book.claim(job, this_program(record.app.get("member", ""))):
            raise Unsupported(f"The job {record.title!r} cannot be resumed: it is {book.get(job).state}.")
        again, priority = Job(work, id=job), record.priority if priority is None else priority
        book.put(job, priority=priority)
        again.put(curve=tuple(book.curve(job)))
        return self._start(Entry(again, work, None if ending else minutes, priority, ending=ending))

    def finish(self, job: str) -> Job:
        """Ends a training that was stopped: what it has learned by then becomes a file. Raises `UserError`."""
        permits.check_owner(lambda: self._recorder.store.jobs.get(job))
        permits.check_work()
        with self._lock:
            record = self._recorder.store.jobs.get(job)
            if not can_finish(record, this_program()["machine"]):
                raise Unsupported(f"The job {record.title!r} has no result to keep here: it is {record.state}.")
            return self._resume(job, ending=True)

    def cancel(self, job: str) -> None:
        """Stops a job, wherever it is carried out; one that has ended stays as it is. Raises `UserError`."""
        permits.check_owner(lambda: self._recorder.store.jobs.get(job))
        if entry := self._entries.get(job):
            self._stop(entry)
        else:
            self._recorder.store.jobs.ask(job, "cancel")

    def forget(self, job: str) -> None:
        """Takes an ended job off the list, with what it has half learned if no other job there can go on from it.

        Its result stays. Raises `UserError`.
        """
        book = self._recorder.store.jobs
        record = book.get(job)
        permits.check_owner(lambda: record)
        if not book.forget(job):
            raise Unsupported(f"The job {record.title!r} is queued or running; cancel it before removing it.")
        kept = _checkpoint(record)
        if kept and kept not in map(_checkpoint, book.all()):
            kept.unlink(missing_ok=True)

    def close(self) -> None:
        """Stops all jobs so that they can be resumed."""
        self._closing = True
        for entry in list(self._entries.values()):
            self._stop(entry)

    @property
    def _ending(self) -> bool:
        """Whether the program comes to its end."""
        return self._closing or not threading.main_thread().is_alive()

    def _start(self, entry: Entry) -> Job:
        entry.job.put(sentence=WAITING)
        self._entries[entry.job.id] = entry
        threading.Thread(target=self._run, args=(entry,), name="long-job", daemon=True).start()
        if self._record_thread is None or not self._record_thread.is_alive():
            self._record_thread = threading.Thread(target=self._record_jobs, name="record-jobs", daemon=True)
            self._record_thread.start()
        return entry.job

    def _run(self, entry: Entry) -> None:
        found: Any = Refusal(BROKEN)  # whatever goes wrong, the job ends
        asked = entry.work
        try:
            found = self._outcome(entry)
        except UserError as error:
            found = Refusal(str(error))
        except WorkerLost as error:
            found = None if self._ending else Refusal(failure_sentence(error))
        finally:
            if entry.ending and not isinstance(found, Outcome):
                entry.work = entry.job.request = asked  # so that it can be resumed as it was
            entry.job.settle(found)
            entry.job.meter.count()
            self._close(entry)

    def _outcome(self, entry: Entry) -> Any:
        """What a job comes to; an outcome is kept."""
        if isinstance(entry.work, Searching):
            entry.job.meter.begin()
            return SearchRun(entry.job, entry.work, self._connection, self._recorder, self._topic).run()
        settled = self._settle(entry)
        found = self._run_until_ended(entry, _task(entry)) if isinstance(settled, Work) else settled
        return self._record_outcome(entry, found) if isinstance(found, Outcome) else found

    def _record_outcome(self, entry: Entry, outcome: Outcome) -> Outcome | Refusal:
        """Keeps what a training has come to, and lets go of what it had half learned."""
        if not self._recorder.keep(outcome, entry.job.id, member=entry.job.meter.member.name):
            return Refusal(f"{self._recorder.trouble} {NOT_KEPT}".strip())
        self._recorder.rewrite(entry.job.id, entry.work)  # which may end sooner than what was asked
        self._kept(outcome)
        _clear(entry.work)
        return outcome

    def _settle(self, entry: Entry) -> Any:
        """What is to be carried out, once that is known; or what the asking for it came to instead."""
        if entry.ending:
            return self._settle_end(entry)
        return self._settle_steps(entry) if entry.minutes else entry.work

    def _settle_steps(self, entry: Entry) -> Any:
        """Minutes become steps, which from now on stand in the request."""
        point = self._run_until_ended(entry, long_tasks.pace)
        if not isinstance(point, LearningPoint):
            return point
        assert entry.minutes
        entry.work = entry.job.request = with_steps(entry.work, point, entry.minutes)
        self._recorder.rewrite(entry.job.id, entry.work)
        entry.minutes = None
        return entry.work

    def _settle_end(self, entry: Entry) -> Any:
        """The request ends where its training was stopped; the worker knows, once it has really stopped.

        The store says so when there is an outcome: until then the training can be resumed as it was.
        """
        found = self._run_until_ended(entry, long_tasks.end)
        if isinstance(found, Request):
            entry.work = entry.job.request = found
        return found

    def _run_until_ended(self, entry: Entry, task: Callable[..., Any]) -> Any:
        """What the task returns; where its process dies it is sent again, unless it dies without coming further."""
        crashes, early_crashes, reached = 0, 0, -1
        while entry.job.news.state == "working" and crashes < MAX_CRASHES and early_crashes < MAX_EARLY_CRASHES:
            heard = entry.job.news.number
            found = self._send(entry, task)
            if found is not None or entry.job.news.state != "working":
                return found
            if entry.job.news.number == heard:  # it had not begun: another job's crash removed it from the queue
                early_crashes += 1
                continue
            step = entry.job.news.curve[-1].step if entry.job.news.curve else -1
            crashes, reached = (1 if step > reached else crashes + 1), step
            entry.job.put(sentence=GOING_ON)
        return None

    def _send(self, entry: Entry, task: Callable[..., Any]) -> Any:
        """What the task returns; None where the job or its worker has ended. Raises `WorkerLost`."""
        job = entry.job
        try:
            future = self._submitted(entry, task)
        except GONE as error:
            raise WorkerLost("The cluster has stopped.") from error
        if future is None:
            return None
        job.hold(future)
        try:
            return result(future)
        finally:
            job.let_go()

    def _submitted(self, entry: Entry, task: Callable[..., Any]) -> Future | None:
        """The task on its way to a worker for trainings, once there is one; None where the job has ended meanwhile."""
        connection = self._connection()
        workers, job = connection.workers(GPU, about=(entry.work,)), entry.job
        if job.news.state != "working":
            return None
        return connection.send(
            run_patiently, task, entry.work, self._topic, job.id,
            key=f"{task.__name__}-{job.id}-{time.monotonic_ns()}", workers=workers, priority=entry.priority,
        )  # fmt: skip

    def _stop(self, entry: Entry, sentence: str = "") -> None:
        """Stops a job, and says so at once: its last batch or a worker that just starts may take a moment longer."""
        entry.job.stop(sentence)
        self._close(entry)

    def _close(self, entry: Entry) -> None:
        """Stores how a job ended. When this returns it is stored, by whichever thread."""
        with entry.closing:
            if entry.closed:
                return
            news = entry.job.news
            self._recorder.learn(entry.job.id, news.curve, after=entry.seen)
            self._recorder.note(entry.job.id, news, begun=entry.begun, begins=False)  # the thread may have missed it
            state: Any = "cancelled" if news.state == "overtaken" else news.state
            sentence = news.sentence
            if self._ending and state in ("cancelled", "lost"):
                state, sentence = "interrupted", "The program was closed; resume the job here."
            about = {"state": state, "sentence": sentence, "share": news.share, "run_id": news.run}
            entry.closed = self._recorder.close_entry(entry.job.id, **about)  # if not, the recording thread tries again
            if entry.closed and self._entries.get(entry.job.id) is entry:
                del self._entries[entry.job.id]

    def _record_jobs(self) -> None:
        """The recording thread: stores news while there are jobs, and stops those that another program cancels."""
        while entries := self._entries_to_record():
            for entry in entries:
                self._write(entry)
                if why := entry.job.meter.count(every=permits.COUNT_S):
                    self._stop(entry, why)
                if entry.job.news.state != "working":
                    self._close(entry)  # where the store did not take it before
            for job in self._recorder.wishes([entry.job.id for entry in entries]):
                if unwanted := self._entries.get(job):
                    self._stop(unwanted)
            time.sleep(POLL_S)

    def _entries_to_record(self) -> list[Entry]:
        """The open jobs. Without one the recording thread ends; the next job starts another."""
        with self._lock:
            if not self._entries:
                self._record_thread = None
            return list(self._entries.values())

    def _write(self, entry: Entry) -> None:
        news = entry.job.news
        if news.state == "working" and not entry.closed and news.number != entry.written:
            entry.written = news.number
            begins = not entry.begun and news.sentence != WAITING
            entry.begun = entry.begun or begins
            self._recorder.note(entry.job.id, news, begun=entry.begun, begins=begins)
            entry.seen = self._recorder.learn(entry.job.id, news.curve, after=entry.seen)


def with_steps(work: Work, point: LearningPoint, minutes: float) -> Work:
    """The work with as many steps, or whole epochs, as fit into the minutes at the speed of `point`; at least one."""
    each = point.seconds_left / max(point.steps - point.step, 1)
    steps = steps_for(minutes, max(each, 1e-9))
    if isinstance(work, Sweeping | Searching):
        return work
    if isinstance(work, Training):
        return replace(work, epochs=min(max(1, steps * PACE_EPOCHS // point.steps), MAX_EPOCHS))
    recipe = Recipe.from_json(work.recipe)
    return replace(work, recipe=recipe.whole.with_setting("recover.steps", steps).to_json())


def can_finish(job: JobRecord, machine: str) -> bool:
    """Whether a recipe's training was stopped, and what it had learned by then can become a file on `machine`."""
    learned = job.kind == KINDS[Request] and bool(job.progress.get("step"))
    return learned and job.state in RESUMABLE and job.app.get("machine") == machine


def _checkpoint(job: JobRecord) -> Path | None:
    """Where a job keeps what it has half learned; None where it keeps nothing, or another version wrote it down."""
    with suppress(TypeError, UserError):
        work, _ = from_plain(job.kind, job.request)
        return None if isinstance(work, Sweeping | Searching) else long_tasks.checkpoint(work)
    return None


def _clear(work: Work) -> None:
    """Removes what a training has half learned, once its result is kept; one that was ended early may still go on."""
    if isinstance(work, Sweeping | Searching) or (isinstance(work, Request) and Recipe.from_json(work.recipe).until):
        return
    with suppress(OSError):  # it takes room, no more
        long_tasks.checkpoint(work).unlink(missing_ok=True)


def _task(entry: Entry) -> Callable[..., Any]:
    if entry.ending:
        return long_tasks.finish
    if isinstance(entry.work, Sweeping):
        return long_tasks.sweep
    return long_tasks.train if isinstance(entry.work, Training) else long_tasks.compress
