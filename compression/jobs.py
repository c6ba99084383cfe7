"""Jobs: a request goes to a worker, news come back while it works, and a newer request overtakes an older one.

    lab = Lab()
    job = lab.submit(Request("lenet5", "digits", "digits", recipe.to_json()), owner="session 1")
    news = job.wait(after=job.news.number, timeout=1.0)

Nothing here waits for the cluster except `Job.wait`: a page can call everything else while it draws.
"""

import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Answer
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from distributed import Future
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from compression import cluster, worker
from compression.data import home
from compression.errors import UserError, WorkerLost
from compression.results import LayerReport, Ledger, Measurement
from compression.worker import Baseline, Outcome, Refusal, Request, without_predictions

__all__ = ["Job", "Lab", "News", "Request"]

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["working", "done", "refused", "lost", "overtaken"]

PATIENCE_S = 120.0
"""How long a small question may take."""

LOST = "The process that measures has stopped, perhaps for lack of memory. A new one is starting: measure again."


@dataclass(frozen=True)
class News:
    """How a job stands. `number` grows with every change.

    `sentence` says what is being done, or why there is no result. `measurement` is the latest; it is over the full test
    split if `full`. `baseline` is what it is compared with. `file` is the compressed network, once it is done, `layers`
    and `ledger` what it is made of.
    """

    number: int = 0
    state: State = "working"
    sentence: str = "Waiting for the worker"
    share: float = 0.0
    measurement: Measurement | None = None
    full: bool = False
    baseline: Baseline | None = None
    file: Path | None = None
    layers: tuple[LayerReport, ...] = ()
    ledger: Ledger | None = None


class Job:
    """One request on its way. All methods may be called from any thread."""

    def __init__(self, request: Request):
        self.id = uuid.uuid4().hex
        self.request = request
        self._news = News()
        self._changed = threading.Condition()
        self._future: Future | None = None

    @property
    def news(self) -> News:
        """How it stands now."""
        return self._news

    def wait(self, *, after: int, timeout: float) -> News:
        """The news once their number is higher than `after`, or after `timeout` seconds whatever they are then."""
        with self._changed:
            self._changed.wait_for(lambda: self._news.number > after, timeout)
            return self._news

    def stop(self) -> None:
        """Ends the work at the engine's next look; a job that has ended stays as it is."""
        self._put(state="overtaken", sentence="")
        with self._changed:
            future = self._future
        if future is not None:
            with suppress(ClosedClientError):  # the program is ending
                future.cancel()

    def _put(self, **changes: Any) -> None:
        with self._changed:
            if self._news.state == "working":
                self._news = replace(self._news, number=self._news.number + 1, **changes)
                self._changed.notify_all()

    def _end(self, **changes: Any) -> None:
        """Keeps the last news and lets go of the future, so that neither worker nor scheduler keeps anything."""
        self._put(**changes)
        with self._changed:
            future, self._future = self._future, None
        if future is not None:
            future.release()

    def _send(self, submit: Callable[["Job"], Future]) -> None:
        if self._news.state != "working":
            return
        future = submit(self)
        with self._changed:
            self._future = future
        threading.Thread(target=self._finish, args=(future,), name="job", daemon=True).start()
        if self._news.state != "working":  # stopped in the meantime
            future.cancel()

    def _hear(self, event: dict[str, Any]) -> None:
        if event["kind"] == "progress":
            self._put(sentence=event["sentence"], share=event["share"])
        elif event["kind"] == "baseline":
            self._put(baseline=Baseline.from_plain(event["baseline"]))
        else:
            self._put(measurement=Measurement.from_plain(event["measurement"]), full=event["full"])

    def _finish(self, future: Future) -> None:
        """Waits in a thread of its own until the task has ended one way or the other."""
        try:
            error = future.exception()
        except CancelledError:  # by us, when nobody reads the news any more, or because the scheduler is gone
            self._end(state="lost", sentence=LOST)
            return
        if error is None:
            self._end(**_last_news(future))
        elif isinstance(error, KilledWorker):
            self._end(state="lost", sentence=LOST)
        else:
            self._end(state="refused", sentence=_apology(error))


class Lab:
    """Sends requests to the cluster, which it starts in the background. One for each server."""

    def __init__(self) -> None:
        self._topic = f"compression-{uuid.uuid4().hex}"
        self._crew: cluster.Crew | None = None
        self._jobs: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._latest: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._line = ThreadPoolExecutor(1, thread_name_prefix="lab")  # whatever talks to the cluster, in order
        self._line.submit(self._connected)
        self._answers = ThreadPoolExecutor(4, thread_name_prefix="answers")

    def submit(self, request: Request, *, owner: str) -> Job:
        """A job for `request`. The owner's earlier job, if it still works, is stopped."""
        if (older := self._latest.get(owner)) is not None:
            older.stop()
        job = Job(request)
        self._jobs[job.id] = self._latest[owner] = job
        self._line.submit(self._send, job)
        return job

    def ask(self, question: Callable[..., T], *about: Any) -> Answer[T]:
        """What `question(*about)` returns in the worker, when it comes: for small things beside the jobs.

        The answer's `result` raises `UserError` for what a user can mend, `WorkerLost` where the worker has stopped.
        """
        future = self._line.submit(lambda: self._connected().client.submit(question, *about, pure=False))

        def answer() -> T:
            try:
                return future.result(PATIENCE_S).result(PATIENCE_S)
            except (CancelledError, KilledWorker, OSError, TimeoutError) as error:
                raise WorkerLost(LOST) from error

        return self._answers.submit(answer)

    def close(self) -> None:
        """Ends the cluster if it is our own."""
        self._line.submit(self._disconnect).result(timeout=30)
        self._line.shutdown()
        self._answers.shutdown(cancel_futures=True)

    def _send(self, job: Job) -> None:
        try:
            if self._crew is None:
                job._put(sentence="Starting the engine")
            crew = self._connected()
            job._send(lambda job: crew.client.submit(
                worker.run, job.request, self._topic, job.id, key=f"compress-{job.id}", pure=False
            ))  # fmt: skip
        except UserError as error:
            job._end(state="refused", sentence=str(error))
        except (OSError, RuntimeError, TimeoutError) as error:
            job._end(state="refused", sentence=_apology(error))

    def _connected(self) -> cluster.Crew:
        if self._crew is None or not self._crew.fit():
            self._disconnect()
            self._crew = cluster.connect()
            self._crew.client.subscribe_topic(self._topic, self._hear)
        return self._crew

    def _disconnect(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        job = self._jobs.get(event[1]["job"])
        if job is not None:
            job._hear(event[1])


def _last_news(future: Future) -> dict[str, Any]:
    try:
        outcome: Outcome | Refusal = future.result(timeout=30)
    except (CancelledError, OSError, TimeoutError):  # the worker died with the result in its memory
        return {"state": "lost", "sentence": LOST}
    if isinstance(outcome, Refusal):
        return {"state": "refused", "sentence": outcome.sentence}
    return {
        "state": "done", "sentence": "", "share": 1.0, "full": True, "file": keep(outcome.onnx, outcome.measurement),
        "measurement": without_predictions(outcome.measurement), "baseline": outcome.baseline,
        "layers": outcome.layers, "ledger": outcome.ledger,
    }  # fmt: skip


def keep(onnx: bytes, measurement: Measurement) -> Path:
    """Writes the file under its hash, whole or not at all; returns where it lies."""
    path = home() / "files" / f"{measurement.file_hash}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        with os.fdopen(handle, "wb") as file:
            file.write(onnx)
        os.replace(temporary, path)
    return path


def _apology(error: BaseException | None) -> str:
    """A sentence for the page; the log has the rest under the same number."""
    number = uuid.uuid4().hex[:8]
    log.error("%s: unexpected failure of a job", number, exc_info=error)
    return f"Something went wrong inside the program. The log has the details under number {number}."
