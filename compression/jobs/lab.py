"""Jobs: a request goes to a worker, news come back while it works, and a newer request overtakes an older one.

    lab = Lab()
    job = lab.submit(Request("lenet5", "digits", "digits", recipe.to_json()), owner="session 1")
    news = job.wait(after=job.news.number, timeout=1.0)

A request that was carried out before is answered from the store. Trainings are long jobs, which nobody overtakes and
which stand in the store until they are done:

    job = lab.long.start(Training("resnet20", "digits"), minutes=5)
    lab.long.get(job.id)                                        # from another page, later

Nothing here waits for the cluster except `Job.wait`: a page can call everything else while it draws.
"""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Answer
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet, WeakValueDictionary

from distributed import Future
from distributed.scheduler import KilledWorker

from compression.errors import UserError, WorkerLost
from compression.jobs import cluster, long_tasks, small_networks, worker
from compression.jobs.cluster import LONG, QUICK
from compression.jobs.job import LOST, Job, News, State, apology, result
from compression.jobs.long_jobs import LongJobs
from compression.jobs.messages import Outcome, Refusal, Request, Sweeping, Training, Work
from compression.jobs.result_keeper import Keeper
from compression.recipe import Recipe
from compression.store import Store

__all__ = ["LOST", "Job", "Lab", "News", "Request", "Sweeping", "Training"]

T = TypeVar("T")

PATIENCE_S = 120.0
"""How long a small question may take."""

PARTING_S = 5.0
"""How long results may take to be kept when the program ends."""

REST_S = 3.0
"""A browser that draws a new page, or a user who moves on at once, is not kept waiting by what nobody waits for."""

DELETED = "This was deleted, so it is measured again only when somebody asks for it."

FIRST, NEXT, LATER = 100, 50, 10
"""Priorities of what users wait for, of small questions, and of what nobody waits for. Trainings have their own."""


class Lab:
    """Sends requests to the cluster, which it starts in the background. One for each server."""

    def __init__(self) -> None:
        self._topic = f"compression-{uuid.uuid4().hex}"
        self._crew: cluster.ClusterConnection | None = None
        self._jobs: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._latest: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._fillers: WeakSet[Job] = WeakSet()
        self._asked = 0.0  # when somebody wanted something last
        self._idle = threading.Lock()  # around these two: tabs ask side by side
        self._keeper = Keeper()
        self._cluster_executor = ThreadPoolExecutor(
            1, thread_name_prefix="lab"
        )  # whatever talks to the cluster, in order
        self._cluster_executor.submit(self._connected)
        self._store_executor = ThreadPoolExecutor(1, thread_name_prefix="desk")  # looks into the store first
        self._store_executor.submit(self._keeper.begin)
        self._answers = ThreadPoolExecutor(4, thread_name_prefix="answers")
        self._ends: set[threading.Thread] = set()
        self._practised: dict[tuple[str, str, str], list[Answer[Future]]] = {}
        self.long = LongJobs(self._keeper, self._crew_now, self._topic, self._lay_base)

    @property
    def store(self) -> Store:
        """Where results are kept. Raises `StoreUnavailable`."""
        return self._keeper.store

    @property
    def trouble(self) -> str:
        """Why results are not kept, or not read, just now, in a sentence; empty where they are."""
        return self._keeper.trouble

    def submit(self, request: Request, *, owner: str, anew: bool = False, train: bool = True) -> Job:
        """A job for `request`. The owner's earlier job, if it still works, is stopped.

        What was measured before, on this machine and with this engine, is answered from the store unless it is wanted
        `anew`. What a long job is about to find out is that job, which nobody overtakes. Without `train` a recipe that
        trains, and that the store does not know, ends `untrained`, with the file that its training would start from.
        """
        if (older := self._latest.get(owner)) is not None:
            older.stop()
        self._make_way()
        if same := self.long.find(request):
            return same
        job = Job(request)
        self._jobs[job.id] = self._latest[owner] = job
        self._send_on(self._store_executor, self._look_up, job, anew, train)
        return job

    def submit_idle(self, request: Request) -> Job | None:
        """A job for the time when nobody waits for anything: whatever else is asked for overtakes it at once.

        There is one at a time; None where there is one already, or where somebody has asked for something just now.
        What the user has deleted is not measured for nobody, and ends `refused`.
        """
        with self._idle:
            at_work = any(job.news.state == "working" for job in self._fillers)
            if at_work or time.monotonic() - self._asked < REST_S:
                return None
            job = Job(request, idle=True)
            self._fillers.add(job)
        self._jobs[job.id] = job
        self._send_on(self._store_executor, self._look_up, job, False, False, LATER)
        return job

    def _make_way(self) -> None:
        """Stops what nobody waits for."""
        with self._idle:
            self._asked = time.monotonic()
            given_up = list(self._fillers)
            self._fillers.clear()
        for job in given_up:
            job.stop()

    def ask(self, question: Callable[..., T], *about: Any) -> Answer[T]:
        """What `question(*about)` returns in the worker, when it comes: for small things beside the jobs.

        The answer's `result` raises `UserError` for what a user can mend, `WorkerLost` where the worker has stopped.
        """
        self._make_way()
        future = self._cluster_executor.submit(self._put_to_work, worker.run_question, question, *about, priority=NEXT)

        def answer() -> T:
            try:
                return self._come(future.result(PATIENCE_S))
            except (CancelledError, KilledWorker, OSError, TimeoutError) as error:
                raise WorkerLost(LOST) from error

        return self._answers.submit(answer)

    def _come(self, sent: Future) -> Any:
        """The result of what was sent, however long the worker is busy with something else before."""
        while True:
            try:
                return sent.result(PATIENCE_S)
            except TimeoutError:
                if sent.status != "pending" or self._crew is None or not self._crew.is_connected():
                    raise

    def small(self, model: str, dataset: str, teacher: str = "") -> Answer[Outcome | Refusal]:
        """Measures and keeps the fp32 file of a network of the zoo, or of one that `teacher` has taught."""

        def kept(answer: Answer[Outcome | Refusal]) -> None:
            if not answer.cancelled() and answer.exception() is None and isinstance(found := answer.result(), Outcome):
                self._keeper.keep(found)

        answer = self.ask(small_networks.measured, model, dataset, teacher)
        answer.add_done_callback(kept)
        return answer

    def close(self) -> None:
        """Writes down what is done, and ends the cluster if it is our own. Trainings can be resumed later."""
        self.long.close()
        self._store_executor.shutdown()
        for job in list(self._jobs.values()):
            job.stop()
        end = time.monotonic() + PARTING_S
        for thread in list(self._ends):
            thread.join(timeout=max(0.0, end - time.monotonic()))
        self._cluster_executor.submit(self._disconnect).result(timeout=30)
        self._cluster_executor.shutdown()
        self._answers.shutdown(cancel_futures=True)

    def _send_on(self, line: ThreadPoolExecutor, take: Callable[..., None], job: Job, *about: Any) -> None:
        """Has `line` take a job's next step; one that fails, whatever the reason, ends it."""

        def taken(step: Answer[None]) -> None:
            if not step.cancelled() and (error := step.exception()):
                job.end(state="refused", sentence=str(error) if isinstance(error, UserError) else apology(error))

        line.submit(take, job, *about).add_done_callback(taken)

    def _look_up(self, job: Job, anew: bool, train: bool, priority: int = FIRST) -> None:
        assert isinstance(job.request, Request)
        asked, found = job.request, None if anew else self._keeper.answer(job.request)
        if not found and not train and _trains(asked):
            asked = replace(asked, recipe=Recipe.from_json(asked.recipe).untrained.to_json())
            found = self._keeper.answer(asked)
            found = found and found | {"state": "untrained"}
        if found:
            job.end(**found)
        elif priority == LATER and self._keeper.deleted(asked):
            job.end(state="refused", sentence=DELETED)
        else:
            self._send_on(self._cluster_executor, self._send, job, asked, priority)

    def _send(self, job: Job, asked: Request, priority: int) -> None:
        """Has the worker carry out what is `asked`: the job's request, or what its training would start from."""
        if job.news.state != "working":
            return
        if self._crew is None:
            job.put(sentence="Starting the engine")
        about = (asked, self._topic, job.id)
        how: dict[str, Any] = {"key": f"compress-{job.id}", "priority": priority}
        if _trains(asked):
            future = self._put_to_work(long_tasks.compress, *about, kind=LONG, **how)
        else:
            future = self._put_to_work(worker.run, *about, **how)
        job.hold(future)
        state: State = "done" if asked == job.request else "untrained"
        self._in_the_end(self._finish, job, future, state, priority != LATER)

    def _finish(self, job: Job, future: Future, state: State, wanted: bool) -> None:
        """Waits in a thread of its own until the task has ended; the page is told first, then the store."""
        found = result(future)
        job.settle(found, state)
        if isinstance(found, Outcome):
            self._keeper.keep(found, revive=wanted)
            self._lay_base(found)
            if isinstance(job.request, Request):
                self._practise(job.request)

    def _practise(self, request: Request) -> None:
        """Has a network's first steps carried out for nobody, once."""
        subject = (request.model, request.weights, request.dataset)
        if subject not in self._practised:
            self._practised[subject] = []
            with suppress(RuntimeError, UserError, OSError):  # the program is ending, or the cluster has
                for setting in worker.PRACTICE:
                    self._practised[subject].append(
                        self._cluster_executor.submit(
                            self._put_to_work, worker.warm_caches, request, setting, priority=LATER
                        )
                    )

    def practising(self) -> list[Answer[Future]]:
        """What was sent to the worker for nobody."""
        return [future for futures in self._practised.values() for future in futures]

    def rest(self) -> None:
        """Waits until nothing is done any more that nobody waits for."""
        for begun in self.practising():
            with suppress(CancelledError, KilledWorker, OSError, TimeoutError, UserError):
                begun.result(PATIENCE_S).result(PATIENCE_S)

    def _lay_base(self, outcome: Outcome) -> None:
        """Has the fp32 file kept too, that the outcome is compared with, unless it is already."""
        subject = outcome.subject
        if outcome.role == "candidate" and self._keeper.lacks_baseline(subject):
            request = Request(subject.model, subject.weights, subject.dataset, outcome.recipe)
            with suppress(RuntimeError, UserError, OSError):  # the program is ending, or the cluster has
                future = self._cluster_executor.submit(self._put_to_work, worker.base, request, priority=LATER).result()
                self._in_the_end(self._keep_base, future)

    def _keep_base(self, future: Future) -> None:
        found = result(future)
        if isinstance(found, Outcome):
            self._keeper.keep(found)

    def _in_the_end(self, wait: Callable[..., None], *about: Any) -> None:
        def act() -> None:
            try:
                wait(*about)
            finally:
                self._ends.discard(thread)

        thread = threading.Thread(target=act, name="job", daemon=True)
        self._ends.add(thread)
        thread.start()

    def _put_to_work(self, task: Callable[..., Any], *about: Any, kind: str = QUICK, **how: Any) -> Future:
        crew = self._connected()
        return crew.client.submit(worker.run_task, task, *about, workers=crew.workers(kind), pure=False, **how)

    def _crew_now(self) -> cluster.ClusterConnection:
        return self._cluster_executor.submit(self._connected).result()

    def _connected(self) -> cluster.ClusterConnection:
        if self._crew is None or not self._crew.is_connected():
            self._disconnect()
            self._crew = cluster.connect()
            self._crew.client.subscribe_topic(self._topic, self._hear)
        return self._crew

    def _disconnect(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        about = event[1]["job"]
        job = self._jobs.get(about) or self.long.get(about)
        if job is not None:
            job.hear(event[1])


def _trains(work: Work) -> bool:
    """Whether a request would keep those waiting who move sliders. One that cannot be read is refused by the worker."""
    try:
        return not isinstance(work, Request) or Recipe.from_json(work.recipe).get("recover") is not None
    except UserError:
        return False
