"""What jobs have to do with the store: answers to requests that were carried out before, and results that are kept.

A store that fails costs no result: the failure becomes `trouble`, a sentence for the page. It stands until the store
answers again; where a result could not be kept, until one is.
"""

import json
import logging
import math
import os
import threading
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, get_type_hints

from compression.data import DATASETS
from compression.data.test_samples import base_of
from compression.errors import StoreUnavailable, Unsupported, UserError, shown
from compression.host.engine_version import engine_hash
from compression.host.machine import this_machine
from compression.jobs.job import News
from compression.jobs.messages import Baseline, Outcome, Request, Searching, Sweeping, Training, Work
from compression.jobs.processes import Identity, identity, runs
from compression.jobs.requested import edition
from compression.models import card
from compression.models import title as network_title
from compression.models.provenance import producer_id
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Interval, LearningPoint, Measurement, wilson
from compression.store import JobRecord, Run, Store, Subject, files
from compression.store.records import OPEN

log = logging.getLogger(__name__)

T = TypeVar("T")
KINDS: dict[type[Work], str] = {Request: "compress", Training: "train", Sweeping: "sweep", Searching: "search"}
"""The kind of each job in the store."""

SILENCE = timedelta(minutes=2)
"""A job on another machine that was not heard of for so long has died."""


CHANGED = "The program's files have changed since it was started. Restart it: until then results are not found again."


class ResultRecorder:
    """What a program's jobs read from its store and write there. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.trouble = ""
        self._unkept = self._changed = False
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._known: dict[tuple[tuple[str, str, str], tuple[str, str]], Subject] = {}
        self._based: set[Subject] = set()

    @property
    def store(self) -> Store:
        """The open store. Raises `StoreUnavailable`."""
        with self._lock:
            if self._store is None:
                self._store = Store.shared()
            return self._store

    def begin(self) -> None:
        """Opens the store, marks the jobs of programs that have died, and removes files that no run names."""
        engine_hash()
        self._try(lambda: end_orphans(self.store))
        self._try(lambda: self.store.remove_unnamed_files())

    def answer(self, request: Request) -> dict[str, Any] | None:
        """The last news of a request that was carried out before, on this machine and with this engine; else None."""
        return self._try(lambda: self._answer(request))

    def deleted(self, request: Request) -> bool:
        """Whether what the request makes is something that the user has deleted."""
        return self._try(lambda: self._deleted(request)) is True

    def keep(self, outcome: Outcome, job: str | None = None, *, revive: bool = True, member: str = "") -> bool:
        """Keeps a result and its file; where that cannot be, `trouble` says why. See `Store.add` for `revive`.

        `member` is who had it made.
        """
        if outcome.edition:
            self._known[_name(outcome.subject), outcome.edition] = outcome.subject
        self._changed = outcome.role == "candidate" and not self._is_ours(outcome)
        self._unkept = True  # until it is: another thread's success meanwhile takes nothing back
        self._unkept = not self._done(lambda: self._keep(outcome, job, revive, member))
        self._calm()
        return not self._unkept

    def _calm(self) -> None:
        """What is said where the store answers."""
        if not self._unkept:
            self.trouble = CHANGED if self._changed else ""

    def _is_ours(self, outcome: Outcome) -> bool:
        """Whether the engine that made a file, in a process that may have started later, is this program's."""
        return self._try(lambda: producer_id(Recipe.from_json(outcome.recipe), outcome.subject.dataset)) in (
            outcome.maker, None,
        )  # fmt: skip

    def _keep(self, outcome: Outcome, job: str | None, revive: bool, member: str) -> None:
        files.write_file(outcome.onnx, outcome.measurement, idle=not revive)
        run = self.store.add(
            outcome.subject, Recipe.from_json(outcome.recipe), outcome.measurement, engine=outcome.maker,
            layers=outcome.layers, ledger=outcome.ledger, role=outcome.role, job=job, revive=revive,
        )  # fmt: skip
        self.store.usage.made(run, member, outcome.measurement.size_bytes)

    def content(self, file_hash: str) -> bytes | None:
        """The bytes of a file that is kept on this machine; None where it is not, or is damaged."""
        return files.read_file(file_hash)

    def keep_measurement(self, run: str, measurement: Measurement) -> bool:
        """Keeps one measurement more of a run's file; says whether the store took it."""

        def keep() -> None:
            known = self.store.run(run)
            self.store.add(known.subject, known.recipe, measurement, engine=known.engine, revive=False)

        return self._done(keep)

    def lacks_baseline(self, subject: Subject) -> bool:
        """Whether the fp32 file of a network is not kept yet."""
        if subject not in self._based and self._try(lambda: self.store.baseline(subject)) is not None:
            self._based.add(subject)
        return subject not in self._based

    def enter(self, job: str, work: Work, *, minutes: float | None, priority: int, member: str = "") -> None:
        """Stores a new long job. Raises `StoreUnavailable`: a job that is not stored is not begun."""
        self.store.jobs.add(
            job, kind=KINDS[type(work)], title=title(work),
            request=to_plain(work, minutes), app=this_program(member), priority=priority,
        )  # fmt: skip

    def note(self, job: str, news: News, *, begun: bool, begins: bool) -> None:
        """Writes down how a long job stands; `begins` where it has begun just now."""
        changes: dict[str, Any] = {"sentence": news.sentence, "share": news.share}
        changes["state"] = "working" if begun else "waiting"
        if news.curve:
            measured = [point.accuracy for point in news.curve if point.accuracy is not None]
            changes["progress"] = replace(news.curve[-1], accuracy=measured[-1] if measured else None)
        if begins:
            changes["started"] = datetime.now(UTC)
        self._try(lambda: self.store.jobs.put(job, while_open=True, **changes))

    def learn(self, job: str, curve: tuple[LearningPoint, ...], *, after: int) -> int:
        """Writes down the points of a curve beyond the step `after`; returns the last one's step."""
        points = [point for point in curve if point.step > after]
        written = self._done(lambda: self.store.jobs.learn(job, points))
        return points[-1].step if points and written else after

    def close_entry(self, job: str, **changes: Any) -> bool:
        """Writes down how a long job ended, and says whether the store took it."""
        return self._done(lambda: self.store.jobs.put(job, ended=datetime.now(UTC), **changes))

    def rewrite(self, job: str, work: Work) -> None:
        """The request of a job with its steps settled, so that it is the same one whenever it is begun again."""
        self._try(lambda: self.store.jobs.put(job, request=json.dumps(to_plain(work, None)), title=title(work)))

    def wishes(self, jobs: list[str]) -> set[str]:
        """Stores a heartbeat of these jobs; returns those that another program asks to cancel."""
        return set(self._try(lambda: self.store.jobs.hear(jobs)) or ())

    def _answer(self, request: Request) -> dict[str, Any] | None:
        subject = self._subject(request)
        if subject is None:
            return None
        recipe = Recipe.from_json(request.recipe)
        run = self.store.answer(subject, recipe, engine=producer_id(recipe, request.dataset), threads=request.threads)
        base = self.store.baseline(subject) if run else None
        path = self.store.file(run) if run and files.read_file(run.file_hash) else None
        return _news(self.store, run, base) | {"file": path} if run and path else None

    def _deleted(self, request: Request) -> bool:
        subject, recipe = self._subject(request), Recipe.from_json(request.recipe)
        return subject is not None and recipe.hash in {
            run.recipe_hash for run in self.store.runs(subject=subject, deleted=True)
        }

    def _subject(self, request: Request) -> Subject | None:
        """What the store calls the request's network and images; None where only a worker can tell.

        A named dataset is the one that the weights were trained on; if it should not be, no run has this key.
        """
        name = (request.model, request.weights, request.dataset)
        if (seen := self._known.get((name, edition(request)))) or request.dataset != request.weights:
            return seen
        known = card(request.model, request.weights)
        return Subject(*name, known.sha256, known.data_fingerprint)

    def _done(self, act: Callable[[], object]) -> bool:
        return self._try(lambda: (act(), True)[1]) is True

    def _try(self, act: Callable[[], T | None]) -> T | None:
        try:
            found = act()
        except StoreUnavailable as error:
            log.warning("%s", error, exc_info=error)
            self.trouble = str(error)
            return None
        except UserError:  # the worker will say so
            return None
        self._calm()
        return found


def end_orphans(store: Store) -> list[JobRecord]:
    """Marks open jobs whose program has died as interrupted; returns them."""
    now = store.jobs.now()
    orphans = [job for job in store.jobs.all(states=OPEN) if not _lives(job, now)]
    return [job for job in orphans if store.jobs.interrupt(job.id, job.heard)]


def this_program(member: str = "") -> dict[str, Any]:
    """Who carries out a job: this process, on this machine; and for which member of a team, if there is one."""
    here = {"machine": this_machine().id, **identity(os.getpid())._asdict()}
    return here | ({"member": member} if member else {})


def to_plain(work: Work, minutes: float | None) -> dict[str, Any]:
    """A long job's request as it is stored."""
    return asdict(work) | ({"minutes": minutes} if minutes else {})


def from_plain(kind: str, values: dict[str, Any]) -> tuple[Work, float | None]:
    """The inverse of `to_plain`. Raises `Unsupported` for what another version or program has written."""
    made = next((work for work, name in KINDS.items() if name == kind), Request)
    rest = dict(values) if isinstance(values, dict) else {}
    minutes = rest.pop("minutes", None)
    types = get_type_hints(made)
    needed = {known.name for known in fields(made) if known.default is MISSING}
    fits = needed <= rest.keys() <= types.keys() and all(type(value) is types[name] for name, value in rest.items())
    if not fits or not (minutes is None or (isinstance(minutes, int | float) and 0 < minutes < math.inf)):
        raise Unsupported(f"This version cannot read what a job of the kind {shown(kind)} is to do: {shown(values)}.")
    return made(**rest), minutes


def title(work: Work) -> str:
    """'ResNet-20 on Digits: prune, quantize, recover'."""
    base = base_of(work.dataset)
    images = DATASETS[base].title if base in DATASETS else work.dataset
    what = "sensitivity of every layer" if isinstance(work, Sweeping) else "training from scratch"
    what = "search" if isinstance(work, Searching) else what
    if isinstance(work, Request):
        what = ", ".join(step.kind for step in Recipe.from_json(work.recipe).steps)
    return f"{network_title(work.model)} on {images}: {what}"


def _lives(job: JobRecord, now: datetime) -> bool:
    """Whether the program that carries out the job is there at `now`, by the database's clock as `job.heard` is."""
    pid, started = job.app.get("pid"), job.app.get("started")
    if job.app.get("machine") == this_machine().id and type(pid) is int and isinstance(started, float):
        return 0 < pid < 1 << 31 and runs(Identity(pid, started))
    return now - job.heard < SILENCE


def _name(subject: Subject) -> tuple[str, str, str]:
    return subject.model, subject.weights, subject.dataset


def _news(store: Store, run: Run, base: Run | None) -> dict[str, Any]:
    return {
        "state": "done", "sentence": "", "share": 1.0, "full": True, "measurement": run.measurement,
        "baseline": _baseline(run) if base is None else _plain(base),
        "layers": store.layers(run.id), "ledger": store.ledger(run.id), "run": run.id, "curve": tuple(store.curve(run)),
    }  # fmt: skip


def _plain(base: Run) -> Baseline:
    return Baseline(base.accuracy, base.size_bytes, base.macs, base.parameters)


def _baseline(run: Run) -> Baseline:
    """What the run itself says of the fp32 file, until that is kept."""
    right, n = run.accuracy.baseline, run.accuracy.n
    reference = run.accuracy.reference
    bounds = Interval(1.0, 1.0) if reference == "fp32" else wilson(round(right * n), n)
    accuracy = Accuracy(right, bounds, n, right, 0.0, reference=reference)
    return Baseline(accuracy, run.baseline_size_bytes)
