"""Long jobs: trainings and sweeps that wait their turn, go on after a crash, and stand in the store for all to see."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from compression import long_work
from compression.cluster import LONG, Crew
from compression.errors import Unsupported, UserError
from compression.keeper import KINDS, Keeper, from_plain, this_program, to_plain
from compression.long_work import PACE_EPOCHS, Sweeping, Training, Work
from compression.news import Job, apology, result
from compression.recipe import Recipe
from compression.results import LearningPoint
from compression.steps import steps_for
from compression.store.records import RESUMABLE
from compression.worker import Outcome, Refusal, Request, perform

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often news are written down and wishes from elsewhere are read."""

LOSSES = 3
"""So many crashes in a row without a step in between, and a job is given up."""

WAITING = "Waiting for its turn"

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
    written: int = -1  # number of the last news that stand in the book
    seen: int = -1  # last step of the curve that does


class LongJobs:
    """Carries out trainings on `crew()`'s worker for them, one after the other, those of a higher priority first."""

    def __init__(self, keeper: Keeper, crew: Callable[[], Crew], topic: str, kept: Callable[[Outcome], None]):
        self._keeper, self._crew, self._topic, self._kept = keeper, crew, topic, kept
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._closing_one = threading.Lock()
        self._clerk: threading.Thread | None = None

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
        entries = [entry for entry in list(self._entries.values()) if entry.work == work]
        return next((entry.job for entry in entries if entry.job.news.state == "working"), None)

    def start(self, work: Work, *, minutes: float | None = None, priority: int = 0) -> Job:
        """Begins a piece of work, or goes on with the same one where it waits, works or was stopped.

        `minutes` become the recipe's steps (or the training's epochs) by the speed that is measured first. Raises
        `StoreUnavailable`.
        """
        if minutes is None and (left := self._left(work)):
            with suppress(UserError):  # somebody else was quicker
                return self.resume(left)
        with self._lock:
            if same := self.find(work):
                return same
            job = Job(work)
            self._keeper.enter(job.id, work, minutes=minutes, priority=priority)
            return self._carry(Entry(job, work, minutes, priority))

    def _left(self, work: Work) -> str | None:
        """The job of the same work that was stopped last, if there is one."""
        plain, kind = to_plain(work, None), KINDS[type(work)]
        left = self._keeper.store.jobs.all(states=RESUMABLE)
        return next((job.id for job in left if (job.kind, job.request) == (kind, plain)), None)

    def resume(self, job: str, *, ending: bool = False) -> Job:
        """Goes on with a job that stopped, where its last checkpoint is, or ends it there. Raises `UserError`."""
        with self._lock:
            if (entry := self._entries.get(job)) and entry.job.news.state == "working":
                return entry.job
            book = self._keeper.store.jobs
            record = book.get(job)
            work, minutes = from_plain(record.kind, record.request)
            if not book.claim(job, this_program()):
                raise Unsupported(f"The job {record.title!r} cannot be resumed: it is {book.get(job).state}.")
            again = Job(work, id=job)
            again.put(curve=tuple(book.curve(job)))
            return self._carry(Entry(again, work, None if ending else minutes, record.priority, ending=ending))

    def finish(self, job: str) -> Job:
        """Ends a training that was stopped: what it has learned by then becomes a file. Raises `UserError`."""
        record = self._keeper.store.jobs.get(job)
        work, _ = from_plain(record.kind, record.request)
        if record.open or record.state == "done" or not isinstance(work, Request):
            raise Unsupported(f"There is nothing to keep of the job {record.title!r}: it is {record.state}.")
        return self.resume(job, ending=True)

    def cancel(self, job: str) -> None:
        """Stops a job, wherever it is carried out; one that has ended stays as it is. Raises `UserError`."""
        if entry := self._entries.get(job):
            self._stop(entry)
        else:
            self._keeper.store.jobs.ask(job, "cancel")

    def forget(self, job: str) -> None:
        """Takes an ended job and what it has half learned off the list; its result stays. Raises `UserError`."""
        book = self._keeper.store.jobs
        record = book.get(job)
        book.forget(job)
        work, _ = from_plain(record.kind, record.request)
        if isinstance(work, Request) and not record.open:
            long_work.checkpoint(work).unlink(missing_ok=True)

    def close(self) -> None:
        """Stops all jobs so that they can be resumed."""
        self._closing = True
        for entry in list(self._entries.values()):
            self._stop(entry)

    @property
    def _ending(self) -> bool:
        """Whether the program comes to its end."""
        return self._closing or not threading.main_thread().is_alive()

    def _carry(self, entry: Entry) -> Job:
        entry.job.put(sentence=WAITING)
        self._entries[entry.job.id] = entry
        threading.Thread(target=self._carry_out, args=(entry,), name="long-job", daemon=True).start()
        if self._clerk is None or not self._clerk.is_alive():
            self._clerk = threading.Thread(target=self._keep_book, name="clerk", daemon=True)
            self._clerk.start()
        return entry.job

    def _carry_out(self, entry: Entry) -> None:
        job, found = entry.job, None
        try:
            if entry.ending:
                found = self._settle_end(entry)
            elif entry.minutes:
                found = self._settle_steps(entry)
            if not isinstance(found, Refusal):
                found = self._persist(entry, _task(entry.work))
        except UserError as error:
            found = Refusal(str(error))
        except (
            NameError,
            OSError,
            RuntimeError,
            TimeoutError,
        ) as error:  # NameError: Dask's, of a loop that was closed
            found = None if self._ending else Refusal(apology(error))
        if isinstance(found, Outcome):
            self._keeper.keep(found, job.id)
            self._kept(found)
        job.settle(found)
        self._close(entry)

    def _settle_steps(self, entry: Entry) -> Refusal | None:
        """Minutes become steps, which from now on stand in the request."""
        point = self._persist(entry, long_work.pace)
        if isinstance(point, Refusal) or point is None:
            return point or Refusal("")
        assert entry.minutes
        self._rewrite(entry, with_steps(entry.work, point, entry.minutes))
        entry.minutes = None
        return None

    def _settle_end(self, entry: Entry) -> Refusal | None:
        """The request ends where its training was stopped; the worker knows, once it has really stopped."""
        found = self._persist(entry, long_work.end)
        if isinstance(found, Refusal) or found is None:
            return found or Refusal("")
        self._rewrite(entry, found)
        return None

    def _rewrite(self, entry: Entry, work: Work) -> None:
        entry.work = entry.job.request = work
        self._keeper.rewrite(entry.job.id, work)

    def _persist(self, entry: Entry, task: Callable[..., Any]) -> Any:
        """What the task returns; where its process dies it is sent again, unless it dies without coming further."""
        losses, reached = 0, -1
        while entry.job.news.state == "working" and losses < LOSSES:
            found = self._send(entry, task)
            if found is not None or entry.job.news.state != "working":
                return found
            step = entry.job.news.curve[-1].step if entry.job.news.curve else -1
            losses, reached = (1 if step > reached else losses + 1), step
            entry.job.put(sentence="The worker stopped; going on from the last checkpoint")
        return None

    def _send(self, entry: Entry, task: Callable[..., Any]) -> Any:
        crew = self._crew()
        workers, job = crew.workers(LONG), entry.job
        if job.news.state != "working":
            return None
        future = crew.client.submit(
            perform, task, entry.work, self._topic, job.id,
            key=f"{task.__name__}-{job.id}-{time.monotonic_ns()}", workers=workers, priority=entry.priority, pure=False,
        )  # fmt: skip
        job.hold(future)
        try:
            return result(future)
        finally:
            job.let_go()

    def _stop(self, entry: Entry) -> None:
        """Stops a job, and says so at once: its last batch or a worker that just starts may take a moment longer."""
        entry.job.stop()
        self._close(entry)

    def _close(self, entry: Entry) -> None:
        with self._closing_one:
            closed, entry.closed = entry.closed, True
        if closed:
            return
        news = entry.job.news
        self._keeper.learn(entry.job.id, news.curve, after=entry.seen)
        state: Any = "cancelled" if news.state == "overtaken" else news.state
        sentence = news.sentence
        if self._ending and state in ("cancelled", "lost"):
            state, sentence = "interrupted", "The program was ended; resume it here."
        self._keeper.close_entry(entry.job.id, state=state, sentence=sentence, share=news.share, run_id=news.run)
        if self._entries.get(entry.job.id) is entry:
            del self._entries[entry.job.id]

    def _keep_book(self) -> None:
        """The clerk: writes down what is new while there are jobs, and stops those that somebody wants stopped."""
        while entries := list(self._entries.values()):
            for entry in entries:
                self._write(entry)
            for job in self._keeper.wishes([entry.job.id for entry in entries]):
                if unwanted := self._entries.get(job):
                    self._stop(unwanted)
            time.sleep(LOOK_S)

    def _write(self, entry: Entry) -> None:
        news = entry.job.news
        if news.state == "working" and not entry.closed and news.number != entry.written:
            entry.written = news.number
            begins = not entry.begun and news.sentence != WAITING
            entry.begun = entry.begun or begins
            self._keeper.note(entry.job.id, news, begun=entry.begun, begins=begins)
            entry.seen = self._keeper.learn(entry.job.id, news.curve, after=entry.seen)


def with_steps(work: Work, point: LearningPoint, minutes: float) -> Work:
    """The work with as many steps, or whole epochs, as fit into the minutes at the speed of `point`; at least one."""
    each = point.seconds_left / max(point.steps - point.step, 1)
    steps = steps_for(minutes, max(each, 1e-9))
    if isinstance(work, Sweeping):
        return work
    if isinstance(work, Training):
        return replace(work, epochs=min(max(1, steps * PACE_EPOCHS // point.steps), MAX_EPOCHS))
    recipe = Recipe.from_json(work.recipe)
    return replace(work, recipe=recipe.with_setting("recover.steps", steps).to_json())


def _task(work: Work) -> Callable[..., Any]:
    if isinstance(work, Sweeping):
        return long_work.sweep
    return long_work.train if isinstance(work, Training) else long_work.compress
