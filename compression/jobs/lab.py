"""Jobs: a request goes to a worker, news come back while it works, and a newer request overtakes an older one.

    lab = Lab()
    job = lab.submit(Request("lenet5", "digits", "digits", recipe.to_json()), owner="session 1")
    news = job.wait(after=job.news.number, timeout=1.0)

A request that was carried out before is answered from the store. Trainings are long jobs, which no other request
stops and which the store lists until they are done:

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
from compression.host.machine import works_unasked
from compression.jobs import cluster, long_tasks, permits, small_networks, worker
from compression.jobs.daemon_thread import in_daemon_thread
from compression.jobs.job import LOST, Job, News, State, failure_sentence, result
from compression.jobs.joined import GPU, LONG, QUICK
from compression.jobs.long_jobs import LongJobs
from compression.jobs.messages import Outcome, Refusal, Request, Sweeping, Training, Work
from compression.jobs.result_recorder import ResultRecorder
from compression.jobs.watched import Watched
from compression.recipe import Recipe
from compression.store import Store

__all__ = ["LOST", "Job", "Lab", "News", "Request", "Sweeping", "Training"]

T = TypeVar("T")

ANSWER_TIMEOUT_S = 120.0
"""How long a small question may take."""

CLOSE_TIMEOUT_S = 5.0
"""How long results may take to be kept when the program ends."""

IDLE_AFTER_S = 3.0
"""Idle jobs begin so long after the last request: a page that is still being drawn does not wait for them."""

DELETED = "This run was deleted. Use “Measure again” to recreate it."

WANTED, QUESTION, BESIDE, IDLE = 100, 50, 20, 10
"""Priorities of jobs that users wait for, of questions, of those that nobody has to wait for, and of idle jobs.
Trainings have their own.
"""


class Lab:
    """Sends requests to the cluster, which it starts in the background. One for each server."""

    def __init__(self) -> None:
        self._topic = f"compression-{uuid.uuid4().hex}"
        self._connection: cluster.ClusterConnection | None = None
        self._jobs: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._latest: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._idle_jobs: WeakSet[Job] = WeakSet()
        self._watched: WeakValueDictionary[str, Watched] = WeakValueDictionary()
        self._last_request = 0.0  # by the monotonic clock, in seconds
        self._idle_lock = threading.Lock()  # guards the two above: tabs send requests in parallel
        self._recorder = ResultRecorder()
        self._cluster_executor = ThreadPoolExecutor(1, thread_name_prefix="lab")  # calls to the cluster, in order
        self._cluster_executor.submit(self._connected)
        self._store_executor = ThreadPoolExecutor(1, thread_name_prefix="store")  # looks into the store first
        self._store_executor.submit(self._recorder.begin)
        self._threads: set[threading.Thread] = set()  # those that have begun
        self._threads_lock = threading.Lock()
        self._warming: dict[tuple[str, str, str], threading.Event] = {}  # set once its caches are filled
        self._closing = threading.Event()
        self.long = LongJobs(self._recorder, self._current_connection, self._topic, self._record_baseline)

    @property
    def store(self) -> Store:
        """Where results are kept. Raises `StoreUnavailable`."""
        return self._recorder.store

    @property
    def trouble(self) -> str:
        """Why results are not kept, or not read, just now, in a sentence; empty where they are."""
        return self._recorder.trouble

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that workers offer, as far as they are known by now."""
        return self._connection.devices() if self._connection else ()

    def submit(self, request: Request, *, owner: str, anew: bool = False, train: bool = True) -> Job:
        """A job for `request`. The owner's earlier job, if it still works, is stopped.

        What was measured before, on this machine and with this engine, is answered from the store unless it is wanted
        `anew`. Where a long job is at work on the request, that job is returned; no other request stops it. Without
        `train` a recipe that trains, and that the store does not know, ends `untrained`, with the file that its
        training would start from. What only the store may answer, as the asker's role or quota says, ends `refused`
        where it cannot.
        """
        if (older := self._latest.get(owner)) is not None:
            older.stop()
        self._stop_idle_jobs()
        if same := self.long.find(request):
            return same
        job = Job(request)
        self._jobs[job.id] = self._latest[owner] = job
        self._send_on(self._store_executor, self._look_up, job, anew, train, WANTED, _refused(request))
        return job

    def submit_idle(self, request: Request) -> Job | None:
        """An idle job, which any other request stops at once.

        There is one at a time; None where there is one already, or within `IDLE_AFTER_S` seconds of another request.
        What the user has deleted is not measured by an idle job, which ends `refused`.
        """
        with self._idle_lock:
            at_work = any(job.news.state == "working" for job in self._idle_jobs)
            if not permits.can_work(request) or at_work or time.monotonic() - self._last_request < IDLE_AFTER_S:
                return None
            job = Job(request, idle=True)
            self._idle_jobs.add(job)
        self._jobs[job.id] = job
        self._send_on(self._store_executor, self._look_up, job, False, False, IDLE)
        return job

    def _stop_idle_jobs(self) -> None:
        """Stops the idle job: a user waits for something else."""
        with self._idle_lock:
            self._last_request = time.monotonic()
            given_up = list(self._idle_jobs)
            self._idle_jobs.clear()
        for job in given_up:
            job.stop()

    def ask(self, question: Callable[..., T], *about: Any) -> Answer[T]:
        """What `question(*about)` returns in the worker, when it comes: for small things beside the jobs.

        The answer's `result` raises `UserError` for what a user can mend, `WorkerLost` where the worker has stopped.
        """
        try:
            permits.check_question(question, *about)
        except UserError as error:
            return _failed(error)
        self._stop_idle_jobs()
        future = self._cluster_executor.submit(
            self._submit_task, worker.run_question, question, *about, priority=QUESTION
        )

        def answer() -> T:
            try:
                return self._wait_for(future.result(ANSWER_TIMEOUT_S))
            except (CancelledError, KilledWorker, OSError, TimeoutError) as error:
                raise WorkerLost(LOST) from error

        return in_daemon_thread(answer)

    def watch(self, question: Callable[..., T | Refusal], *about: Any, beside: bool = False) -> Watched[T | Refusal]:
        """As `ask`, for what takes long: `question` takes `progress` and `stop` too. Done `beside`, it lets all others
        go first.
        """
        watched: Watched[T | Refusal] = Watched()
        try:
            permits.check_question(question, *about)
        except UserError as error:
            refused: Answer[T | Refusal] = _failed(error)
            watched.answer_by(lambda answer: refused, lambda: refused.result())
            return watched
        self._watched[watched.id] = watched
        self._stop_idle_jobs()
        future = self._cluster_executor.submit(
            self._submit_task,
            worker.run_watched,
            question,
            self._topic,
            watched.id,
            *about,
            priority=BESIDE if beside else QUESTION,
        )

        def answer() -> T | Refusal:
            try:
                watched.hold(sent := future.result(ANSWER_TIMEOUT_S))
                return self._wait_for(sent)
            except (CancelledError, KilledWorker, OSError, TimeoutError) as error:
                if watched.stopped:
                    return Refusal("")
                raise WorkerLost(LOST) from error

        watched.answer_by(in_daemon_thread, answer)
        return watched

    def _wait_for(self, sent: Future) -> Any:
        """The result of what was sent, however long the worker is busy with something else before."""
        while True:
            try:
                return sent.result(ANSWER_TIMEOUT_S)
            except TimeoutError:
                if sent.status != "pending" or self._connection is None or not self._connection.is_connected():
                    raise

    def small(self, model: str, dataset: str, teacher: str = "") -> Answer[Outcome | Refusal]:
        """Measures and keeps the fp32 file of a network of the zoo, or of one that `teacher` has taught."""

        def kept(answer: Answer[Outcome | Refusal]) -> None:
            if not answer.cancelled() and answer.exception() is None and isinstance(found := answer.result(), Outcome):
                self._recorder.keep(found, member=member)

        member, answer = permits.who().name, self.ask(small_networks.measured, model, dataset, teacher)
        answer.add_done_callback(kept)
        return answer

    def close(self) -> None:
        """Writes down what is done, and ends the cluster if it is our own. Trainings can be resumed later."""
        self._closing.set()
        self.long.close()
        self._store_executor.shutdown()
        for job in list(self._jobs.values()):
            job.stop()
        end = time.monotonic() + CLOSE_TIMEOUT_S
        with self._threads_lock:
            begun = list(self._threads)
        for thread in begun:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        self._cluster_executor.submit(self._disconnect).result(timeout=30)
        self._cluster_executor.shutdown()

    def _send_on(self, line: ThreadPoolExecutor, take: Callable[..., None], job: Job, *about: Any) -> None:
        """Has `line` take a job's next step; one that fails, whatever the reason, ends it."""

        def taken(step: Answer[None]) -> None:
            if not step.cancelled() and (error := step.exception()):
                job.end(
                    state="refused", sentence=str(error) if isinstance(error, UserError) else failure_sentence(error)
                )

        line.submit(take, job, *about).add_done_callback(taken)

    def _look_up(self, job: Job, anew: bool, train: bool, priority: int = WANTED, refused: str = "") -> None:
        assert isinstance(job.request, Request)
        asked, found = job.request, None if anew else self._recorder.answer(job.request)
        if not found and not train and _trains(asked):
            asked = replace(asked, recipe=Recipe.from_json(asked.recipe).untrained.to_json())
            found = self._recorder.answer(asked)
            found = found and found | {"state": "untrained"}
        if found:
            job.end(**found)
        elif refused:
            job.end(state="refused", sentence=refused)
        elif priority == IDLE and self._recorder.deleted(asked):
            job.end(state="refused", sentence=DELETED)
        else:
            self._send_on(self._cluster_executor, self._send, job, asked, priority)

    def _send(self, job: Job, asked: Request, priority: int) -> None:
        """Has the worker carry out what is `asked`: the job's request, or what its training would start from."""
        if job.news.state != "working":
            return
        if self._connection is None:
            job.put(sentence="Starting the engine")
        about = (asked, self._topic, job.id)
        how: dict[str, Any] = {"key": f"compress-{job.id}", "priority": priority}
        if _trains(asked):
            future = self._submit_task(long_tasks.compress, *about, kind=GPU, **how)
        else:
            future = self._submit_task(worker.run, *about, **how)
        job.hold(future)
        state: State = "done" if asked == job.request else "untrained"
        self._in_thread(self._finish, job, future, state, priority != IDLE)

    def _finish(self, job: Job, future: Future, state: State, wanted: bool) -> None:
        """Waits in a thread of its own until the task has ended; the page is told first, then the store."""
        found = result(future)
        job.settle(found, state)
        job.meter.count()
        if isinstance(found, Outcome):
            self._recorder.keep(found, revive=wanted, member=job.meter.member.name)
            self._record_baseline(found)
            if isinstance(job.request, Request):
                self._warm_caches(job.request)

    def _warm_caches(self, request: Request) -> None:
        """Has an idle worker fill its caches for a network, once, where it may. See `worker.WARM_UP_SETTINGS`."""
        subject = (request.model, request.weights, request.dataset)
        if works_unasked() and subject not in self._warming:
            self._warming[subject] = threading.Event()
            about = request, self._warming[subject]
            threading.Thread(target=self._warm_one_by_one, args=about, name="warming", daemon=True).start()

    def _warm_one_by_one(self, request: Request, done: threading.Event) -> None:
        """One that made way for something else is sent again, and waits behind that."""
        try:
            for setting in worker.WARM_UP_SETTINGS:
                while not self._closing.is_set():
                    future = self._cluster_executor.submit(
                        self._submit_task, worker.warm_caches, request, setting, priority=IDLE
                    ).result()
                    if result(future) is not False:
                        break
        except (RuntimeError, UserError, OSError):  # the program is ending, or the cluster has
            pass
        finally:
            done.set()

    def wait_until_idle(self) -> None:
        """Waits until the caches are filled."""
        for done in list(self._warming.values()):
            done.wait(ANSWER_TIMEOUT_S)

    def _record_baseline(self, outcome: Outcome) -> None:
        """Has the fp32 file that the outcome is compared with stored too, unless it is already."""
        subject = outcome.subject
        if outcome.role == "candidate" and self._recorder.lacks_baseline(subject):
            request = Request(subject.model, subject.weights, subject.dataset, outcome.recipe)
            with suppress(RuntimeError, UserError, OSError):  # the program is ending, or the cluster has
                future = self._cluster_executor.submit(
                    self._submit_task, worker.measure_baseline, request, priority=IDLE
                ).result()
                self._in_thread(self._record_outcome, future)

    def _record_outcome(self, future: Future) -> None:
        found = result(future)
        if isinstance(found, Outcome):
            self._recorder.keep(found)

    def _in_thread(self, wait: Callable[..., None], *about: Any) -> None:
        def act() -> None:
            try:
                wait(*about)
            finally:
                with self._threads_lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=act, name="job", daemon=True)
        with self._threads_lock:
            thread.start()
            self._threads.add(thread)

    def _submit_task(self, task: Callable[..., Any], *about: Any, kind: str = QUICK, **how: Any) -> Future:
        connection = self._connected()
        if kind in (LONG, GPU):
            run = worker.run_patiently
        else:
            run = worker.run_beside if how["priority"] <= BESIDE else worker.run_task
        return connection.send(run, task, *about, workers=connection.workers(kind, about=about), **how)

    def _current_connection(self) -> cluster.ClusterConnection:
        return self._cluster_executor.submit(self._connected).result()

    def _connected(self) -> cluster.ClusterConnection:
        if self._connection is None or not self._connection.is_connected():
            self._disconnect()
            self._connection = cluster.connect()
            self._connection.client.subscribe_topic(self._topic, self._hear)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        about = event[1]["job"]
        job = self._jobs.get(about) or self._watched.get(about) or self.long.get(about)
        if job is not None:
            job.hear(event[1])


def _trains(work: Work) -> bool:
    """Whether a request would keep those waiting who move sliders. One that cannot be read is refused by the worker."""
    try:
        return not isinstance(work, Request) or Recipe.from_json(work.recipe).get("recover") is not None
    except UserError:
        return False


def _refused(request: Request) -> str:
    """Why a request may not be carried out for who asks; empty where it may."""
    try:
        permits.check_work(request)
    except UserError as error:
        return str(error)
    return ""


def _failed(error: UserError) -> Answer[Any]:
    """An answer that raises."""
    answer: Answer[Any] = Answer()
    answer.set_exception(error)
    return answer
