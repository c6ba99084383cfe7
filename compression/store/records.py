"""What the store gives out: frozen records."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from compression.errors import UserError
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Latency, Machine, Measurement, Predictions, Reached

Role = Literal["candidate", "baseline"]
JobState = Literal["waiting", "working", "done", "refused", "lost", "cancelled", "interrupted"]

FROM_STORE = "from the store"
"""How the provenance of what was measured earlier begins."""

OPEN: tuple[JobState, ...] = ("waiting", "working")
"""States of a job that a program carries out, or whose program has died."""

RESUMABLE: tuple[JobState, ...] = ("lost", "cancelled", "interrupted", "refused")


@dataclass(frozen=True)
class Subject:
    """A network with its weights and its images.

    `weights` names the dataset that the stored weights were trained on, or a file; `weights_hash` is the SHA-256 of the
    weights, `data_fingerprint` that of all images, labels, splits and the normalisation.
    """

    model: str
    weights: str
    dataset: str
    weights_hash: str
    data_fingerprint: str

    @property
    def id(self) -> str:
        """16 hex digits over all five."""
        return digest(self.model, self.weights, self.dataset, self.weights_hash, self.data_fingerprint)


@dataclass(frozen=True)
class Run:
    """One file with what was measured on it. `id` never changes, nor does what stands behind it, but the user's notes.

    `accuracy` was taken at `measured` (UTC) on `accuracy_machine`. `latency` is the newest that was taken on *this*
    machine, on one thread if there is such a one, else None: all others come from `Store.latencies`, with their
    machines' names.
    """

    id: str
    subject: Subject
    role: Role
    recipe_json: str = field(repr=False)
    recipe_hash: str
    engine: str
    file_hash: str
    size_bytes: int
    baseline_size_bytes: int
    macs: int | None
    parameters: int | None
    n_test: int
    seconds: float
    created: datetime
    job: str | None
    accuracy: Accuracy
    accuracy_machine: Machine
    measured: datetime
    latency: Latency | None
    latency_machine: Machine | None
    reached: tuple[Reached, ...] = ()
    favourite: bool = False
    note: str = ""
    deleted: datetime | None = None

    @property
    def recipe(self) -> Recipe:
        """How the file was made. Raises `InvalidRecipe` where another version wrote one that this cannot read."""
        return _recipe(self.recipe_json)

    @property
    def readable(self) -> Recipe | None:
        """The recipe; None where this version cannot read it."""
        try:
            return self.recipe
        except UserError:
            return None

    @property
    def full(self) -> bool:
        """Whether the accuracy is over the whole test split."""
        return self.accuracy.split == "test" and self.accuracy.n == self.n_test

    @property
    def size_ratio(self) -> float:
        """How many times smaller than the smallest plain fp32 file."""
        return self.baseline_size_bytes / self.size_bytes

    @property
    def measurement(self) -> Measurement:
        """The same as a measurement that says where it comes from; without the answer for each image."""
        none = np.empty(0)
        return Measurement(
            recipe_hash=self.recipe_hash,
            file_hash=self.file_hash,
            accuracy=self.accuracy,
            size_bytes=self.size_bytes,
            baseline_size_bytes=self.baseline_size_bytes,
            latency=self.latency,
            macs=self.macs,
            parameters=self.parameters,
            n_test=self.accuracy.n,
            seconds=self.seconds,
            machine=self.latency_machine or self.accuracy_machine,
            predictions=Predictions(none, none, none),
            reached=self.reached,
            provenance=f"{FROM_STORE}, measured {self.measured.astimezone():%Y-%m-%d %H:%M}",
        )


@dataclass(frozen=True)
class StoredLatency:
    """A file's latency on some machine; `here` if it is this one. `measured` is UTC."""

    latency: Latency
    machine: Machine
    here: bool
    measured: datetime


@dataclass(frozen=True)
class JobRecord:
    """A long job as the store has it. Times are UTC; `heard` is when its program last wrote.

    `progress` holds step, steps, epoch, epochs, loss, accuracy and seconds_left as far as they are known; `app` names
    the machine and the process that carry it out. `run` is the id of its result, once there is one.
    """

    id: str
    kind: str
    title: str
    request: dict[str, Any]
    priority: int
    state: JobState
    sentence: str
    share: float
    progress: dict[str, Any]
    app: dict[str, Any]
    wanted: str | None
    run: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    heard: datetime

    @property
    def open(self) -> bool:
        """Whether it waits or works."""
        return self.state in OPEN


@lru_cache(4096)
def _recipe(text: str) -> Recipe:
    """Read once, as a table of thousands of runs is drawn again and again."""
    return Recipe.from_json(text)


def run_id(subject: Subject, recipe_hash: str, engine: str, file_hash: str, role: Role) -> str:
    """16 hex digits that say what a run is: equal for equal files of the same network, whichever program made them."""
    return digest(subject.id, recipe_hash, engine, file_hash, role)


def digest(*parts: str) -> str:
    """16 hex digits of SHA-256 over the parts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def dump(record: Any) -> str:
    """A frozen record or plain data as JSON."""
    return json.dumps(asdict(record) if is_dataclass(record) and not isinstance(record, type) else record)
