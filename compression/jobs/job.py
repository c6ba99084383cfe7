"""A job as the program that submitted it sees it: its state, and its news as they come."""

import logging
import threading
import uuid
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from distributed import Future
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from compression.errors import StoreUnavailable, UserError
from compression.jobs.messages import Baseline, Finished, Outcome, Refusal, Work
from compression.jobs.outcomes import without_predictions
from compression.jobs.permits import Meter
from compression.records.measurement import LayerReport, LearningPoint, Ledger, Measurement
from compression.store.files import write_file
from compression.store.records import run_id

log = logging.getLogger(__name__)

State = Literal["working", "done", "untrained", "refused", "lost", "overtaken"]
"""`untrained` is done too, but with the file that a training would start from, as no training was asked for."""

LOST = "The worker process stopped, possibly out of memory. A new one is starting: measure again."


@dataclass(frozen=True)
class News:
    """How a job stands. `number` grows with every change.

    `sentence` says what is being done, or why there is no result. `measurement` is the latest; it is over the full test
    split if `full`. `baseline` is what it is compared with. `file` is the compressed network, once it is done, `layers`
    and `ledger` what it is made of, `run` its id in the store. `curve` is what was learned so far, where anything is.
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
    run: str | None = None
    curve: tuple[LearningPoint, ...] = ()


class Job:
    """One request on its way; no user waits for an `idle` one. All methods may be called from any thread."""

    def __init__(self, request: Work, *, id: str | None = None, idle: bool = False):
        self.id = id or uuid.uuid4().hex
        self.request = request
        self.idle = idle
        self.meter = Meter()
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

    def stop(self, sentence: str = "") -> None:
        """Ends the work at the engine's next look; a job that has ended stays as it is."""
        self.put(state="overtaken", sentence=sentence)
        with self._changed:
            future = self._future
        if future is not None:
            with suppress(ClosedClientError):  # the program is ending
                future.cancel()

    def put(self, **changes: Any) -> None:
        """News, unless the job has ended."""
        with self._changed:
            if self._news.state == "working":
                self._news = replace(self._news, number=self._news.number + 1, **changes)
                self._changed.notify_all()

    def end(self, **changes: Any) -> None:
        """Keeps the last news and lets go of the future, so that neither worker nor scheduler keeps anything."""
        self.put(**changes)
        self.let_go()

    def hold(self, future: Future) -> None:
        """The work was sent. Where the job has been stopped meanwhile, it is cancelled."""
        with self._changed:
            self._future = future
        if self._news.state != "working":
            future.cancel()

    def let_go(self) -> None:
        """The work has come to an end."""
        with self._changed:
            future, self._future = self._future, None
        if future is not None:
            future.release()

    def hear(self, event: dict[str, Any]) -> None:
        """An event from the worker."""
        if not self.idle:  # nobody asked for it
            self.meter.begin()
        if event["kind"] == "progress":
            share = self._news.share if event["share"] is None else event["share"]
            self.put(sentence=event["sentence"], share=share)
        elif event["kind"] == "learned":
            point = LearningPoint(**event["point"])
            self.put(curve=(*(p for p in self._news.curve if p.step < point.step), point))
        elif event["kind"] == "baseline":
            self.put(baseline=Baseline.from_plain(event["baseline"]))
        else:
            self.put(measurement=Measurement.from_plain(event["measurement"]), full=event["full"])

    def settle(self, found: Any, state: State = "done") -> None:
        """Ends with what `result` returned."""
        if isinstance(found, Outcome):
            try:
                self.end(**_last_news(found, idle=self.idle) | {"state": state})
            except StoreUnavailable as error:
                self.end(state="refused", sentence=str(error))
        elif isinstance(found, Finished):
            self.end(state="done", sentence=found.sentence, share=1.0)
        elif isinstance(found, Refusal):
            self.end(state="refused", sentence=found.sentence)
        else:
            self.end(state="lost", sentence=LOST)


def result(future: Future) -> Any:
    """What a task returns, once it is there; a `Refusal` for what failed; None where worker or scheduler are gone."""
    try:
        error = future.exception()
        if error is None:
            return future.result(timeout=30)
    except (CancelledError, OSError, RuntimeError, TimeoutError):  # by us, or the cluster or its event loop is gone
        return None
    if isinstance(error, KilledWorker):
        return None
    return Refusal(str(error) if isinstance(error, UserError) else failure_sentence(error))


def _last_news(outcome: Outcome, *, idle: bool) -> dict[str, Any]:
    return {
        "state": "done", "sentence": "", "share": 1.0, "full": True,
        "file": write_file(outcome.onnx, outcome.measurement, idle=idle),
        "measurement": without_predictions(outcome.measurement), "baseline": outcome.baseline,
        "layers": outcome.layers, "ledger": outcome.ledger, "run": run_of(outcome),
    }  # fmt: skip


def run_of(outcome: Outcome) -> str:
    """The id under which the store keeps it."""
    found = outcome.measurement
    return run_id(outcome.subject, found.recipe_hash, outcome.maker, found.file_hash, outcome.role)


def failure_sentence(error: BaseException | None) -> str:
    """A sentence for the page; the log has the rest under the same number."""
    number = uuid.uuid4().hex[:8]
    log.error("%s: unexpected failure of a job", number, exc_info=error)
    return f"Something went wrong inside the program. See the log, entry {number}."
