"""The store of runs: every file that was made, what was measured on it, and what the user said of it."""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable, Select, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from compression.data import user_folder
from compression.errors import UnknownName
from compression.host.machine import this_machine
from compression.recipe import Recipe
from compression.records.measurement import (
    Latency,
    LayerReport,
    LearningPoint,
    Ledger,
    Machine,
    Measurement,
    Predictions,
)
from compression.store import files
from compression.store.database import Database
from compression.store.jobs import JobBook
from compression.store.predictions import from_blobs, to_blobs
from compression.store.probes import ProbeBook
from compression.store.reading import load, machine_of, readable, run_of, stored_latency
from compression.store.records import Role, Run, StoredLatency, Subject, digest, dump, run_id
from compression.store.tables import (
    AccuracyRow,
    Base,
    FileRow,
    LatencyRow,
    LayerRow,
    MachineRow,
    MakerRow,
    NoteRow,
    PredictionRow,
    SubjectRow,
)
from compression.store.usage import UsageBook
from compression.team import Act, require

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

VALIDATION = ", validation"
"""Ends the runtime of an accuracy on validation images: such a one gives way to any on test images."""

_opening = threading.Lock()
_open: dict[str, "Store"] = {}
"""This program's stores by their address."""


class Store:
    """An open store. It may be used from any thread; several programs may use the same database.

    `machine` is the one whose milliseconds count as this machine's. Every method raises `StoreUnavailable` where the
    database fails, those that take a run's id `UnknownName` where there is no such run, and those that change what is
    said of it `NotAllowed` for who may not.
    """

    def __init__(self, database: Database, machine: Machine):
        self.machine = machine
        self.jobs, self.probes, self.usage = JobBook(database), ProbeBook(database), UsageBook(database)
        self._database = database
        self._studies: BaseStorage | None = None
        self._opening_studies = threading.Lock()

    @classmethod
    def open(cls, url: str | None = None, *, machine: Machine | None = None) -> "Store":
        """The store at `url`, else at COMPRESSION_DATABASE, else in the user's folder; created where there is none."""
        return cls(Database(url or _address()), machine or this_machine())

    @classmethod
    def shared(cls) -> "Store":
        """The one store that all parts of this program use, at COMPRESSION_DATABASE or in the user's folder."""
        with _opening:
            address = _address()
            if address not in _open:
                _open[address] = cls.open(address)
            return _open[address]

    @property
    def place(self) -> str:
        """Where it is, for people: a path, or an address without its password."""
        return self._database.place

    def studies(self) -> "BaseStorage":
        """Where Optuna keeps searches: tables of its own in the same database.

        Its methods raise `StoreUnavailable`, as do these.
        """
        from compression.store.studies import study_storage

        with self._opening_studies:
            if self._studies is None:
                self._studies = study_storage(self._database)
            return self._studies

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def add(
        self,
        subject: Subject,
        recipe: Recipe,
        measurement: Measurement,
        *,
        engine: str,
        layers: Sequence[LayerReport] = (),
        ledger: Ledger | None = None,
        n_test: int | None = None,
        role: Role = "candidate",
        job: str | None = None,
        when: datetime | None = None,
        revive: bool = True,
    ) -> str:
        """Keeps what was measured on a file, all or nothing, and returns the run's id.

        A file that is known gets one more latency, and its accuracy anew; a deleted one comes back if it may `revive`.
        `n_test` is the number of all test images where `measurement` is on fewer.
        """
        whole, now = n_test or measurement.n_test, when or datetime.now(UTC)
        run = run_id(subject, recipe.hash, engine, measurement.file_hash, role)
        with self._database.write() as connection:
            _keep(connection, SubjectRow, {"id": subject.id, **vars(subject)})
            _keep(connection, MachineRow, _machine(measurement.machine))
            _keep(connection, FileRow, {
                "id": run, "subject_id": subject.id, "role": role, "recipe": recipe.to_json(),
                "recipe_hash": recipe.hash, "engine": engine, "file_hash": measurement.file_hash,
                "size_bytes": measurement.size_bytes, "baseline_size_bytes": measurement.baseline_size_bytes,
                "macs": measurement.macs, "parameters": measurement.parameters, "n_test": whole,
                "seconds": measurement.seconds, "ledger": ledger and dump(ledger), "job_id": job, "created": now,
                "reached": json.dumps([asdict(found) for found in measurement.reached]),
            })  # fmt: skip
            _keep(connection, AccuracyRow, _accuracy(run, measurement, now), anew=True)
            if len(measurement.predictions):
                blobs = to_blobs(measurement.predictions, whole)
                _keep(connection, PredictionRow, {**_key(run, measurement), **blobs}, anew=True)
            if measurement.latency:
                connection.execute(insert(LatencyRow), _latency(run, measurement, measurement.latency, now))
            for position, layer in enumerate(layers):
                values = {"file_id": run, "position": position, "name": layer.name, "record": dump(layer)}
                _keep(connection, LayerRow, values)
            if revive:
                connection.execute(update(NoteRow).where(NoteRow.file_id == run).values(deleted=None))
        return run

    def run(self, run: str) -> Run:
        """The run with this id, deleted or not."""
        found = self._runs(select(FileRow.id).where(FileRow.id == run))
        if not found:
            raise UnknownName("run", run, ["those that `runs list` shows"])
        return found[0]

    def runs(
        self,
        *,
        model: str | None = None,
        dataset: str | None = None,
        subject: Subject | None = None,
        job: str | None = None,
        role: Role | None = "candidate",
        favourites: bool = False,
        deleted: bool = False,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, the newest first. `deleted` lists those that were deleted, instead of the others."""
        chosen = select(FileRow.id).join(SubjectRow).outerjoin(NoteRow).order_by(FileRow.created.desc()).limit(limit)
        for column, value in (
            (SubjectRow.model, model), (SubjectRow.dataset, dataset), (SubjectRow.id, subject and subject.id),
            (FileRow.job_id, job), (FileRow.role, role), (NoteRow.favourite, favourites or None),
        ):  # fmt: skip
            if value is not None:
                chosen = chosen.where(column == value)
        mark = NoteRow.deleted
        return self._runs(chosen.where(mark.is_not(None) if deleted else mark.is_(None)))

    def answer(self, subject: Subject, recipe: Recipe, *, engine: str, threads: int) -> Run | None:
        """The run that answers a request on this machine: same engine, all test images, timed here; else None.

        What another runtime answered or another machine timed is no answer, nor is a run that was deleted.
        """
        chosen = select(FileRow.id).outerjoin(NoteRow).where(
            FileRow.subject_id == subject.id, FileRow.recipe_hash == recipe.hash, FileRow.engine == engine,
            FileRow.role == "candidate", NoteRow.deleted.is_(None),
        )  # fmt: skip
        for run in self._runs(chosen, threads=threads):
            runtimes = {machine.runtime for machine in (run.accuracy_machine, run.latency_machine) if machine}
            if run.full and run.latency and runtimes == {self.machine.runtime}:
                return run
        return None

    def baseline(self, subject: Subject) -> Run | None:
        """The newest plain fp32 file of a network, that its other runs are compared with."""
        return next(iter(self.runs(subject=subject, role="baseline", limit=1)), None)

    def latencies(self, run: str) -> list[StoredLatency]:
        """A file's latencies on all machines, the newest first."""
        table = select(LatencyRow.record, LatencyRow.measured, MachineRow.hardware, MachineRow.record)
        chosen = table.join(MachineRow).where(LatencyRow.file_id == run).order_by(LatencyRow.id.desc())
        with self._database.read() as connection:
            rows = connection.execute(chosen).all()
        return readable(rows, partial(stored_latency, self._here), f"a latency of the run {run}")

    def predictions(self, run: str) -> Predictions | None:
        """The answer for each test image, from the accuracy that `Run` shows; None where none were kept."""
        here = PredictionRow.runtime == self.machine.runtime
        own = PredictionRow.runtime.in_(select(AccuracyRow.runtime).where(AccuracyRow.file_id == run))  # not a probe's
        chosen = (
            select(PredictionRow.images, PredictionRow.classes, PredictionRow.confidences, FileRow.n_test)
            .join(FileRow).where(PredictionRow.file_id == run, own).order_by(PredictionRow.n.desc(), here.desc())
        )  # fmt: skip
        with self._database.read() as connection:
            row = connection.execute(chosen.limit(1)).first()
        found = readable([row] if row else [], lambda row: from_blobs(*row), f"predictions of the run {run}")
        return found[0] if found else None

    def layers(self, run: str) -> tuple[LayerReport, ...]:
        """The report of each layer, in the network's order; () where one of them cannot be read."""
        chosen = select(LayerRow.record).where(LayerRow.file_id == run).order_by(LayerRow.position)
        with self._database.read() as connection:
            records = connection.execute(chosen).scalars().all()
        found = readable(records, partial(load, LayerReport), f"a layer of the run {run}")
        return tuple(found) if len(found) == len(records) else ()

    def ledger(self, run: str) -> Ledger | None:
        """Where the file's bytes went."""
        with self._database.read() as connection:
            record = connection.execute(select(FileRow.ledger).where(FileRow.id == run)).scalar()
        found = readable([record] if record else [], partial(load, Ledger), f"the ledger of the run {run}")
        return found[0] if found else None

    def curve(self, run: Run) -> list[LearningPoint]:
        """How the run's network learned, where its recipe trains it."""
        return self.jobs.curve(run.job or run.id)

    def file(self, run: Run) -> Path | None:
        """Where the run's ONNX file lies on this machine; None where it does not."""
        return files.find_file(run.file_hash)

    def favourite(self, run: str, value: bool = True) -> None:
        """Marks a run, or takes the mark away."""
        self._note(run, favourite=value)

    def annotate(self, run: str, note: str) -> None:
        """Replaces the user's note on a run."""
        self._note(run, note=note)

    def delete(self, run: str) -> None:
        """Hides a run; `restore` brings it back."""
        self._note(run, own=True, deleted=datetime.now(UTC))

    def restore(self, run: str) -> None:
        """Undoes `delete`."""
        self._note(run, own=True, deleted=None)

    def erase(self, run: str) -> None:
        """Takes a run out of the store for good, and its file if no other run has the same."""
        require(Act.ADMINISTER)
        self.usage.unmade(run)
        with self._database.write() as connection:
            file_hash = connection.execute(select(FileRow.file_hash).where(FileRow.id == run)).scalar()
            for table in (PredictionRow, AccuracyRow, LatencyRow, LayerRow, NoteRow, MakerRow):
                connection.execute(delete(table).where(table.file_id == run))
            connection.execute(delete(FileRow).where(FileRow.id == run))
            if file_hash and not connection.execute(select(FileRow.id).where(FileRow.file_hash == file_hash)).first():
                files.remove_file(file_hash)

    def remove_unnamed_files(self) -> None:
        """Removes files in the user's folder that no run names, where the store lies in that folder too.

        A shared database does not know what other stores have kept here.
        """
        if self._database.is_file and Path(self.place).parent == user_folder():
            with self._database.read() as connection:
                files.remove_unnamed(set(connection.execute(select(FileRow.file_hash)).scalars()))

    def _note(self, run: str, *, own: bool = False, **values: Any) -> None:
        self.usage.check_maker(run) if own else require(Act.WORK)
        with self._database.write() as connection:
            if not connection.execute(select(FileRow.id).where(FileRow.id == run)).first():
                raise UnknownName("run", run, ["those that `runs list` shows"])
            _keep(connection, NoteRow, {"file_id": run, "favourite": False, "note": ""})
            connection.execute(update(NoteRow).where(NoteRow.file_id == run).values(**values))

    @property
    def _here(self) -> str:
        return _machine(self.machine)["hardware"]

    def _runs(self, chosen: Select[str], *, threads: int | None = None) -> list[Run]:
        """The chosen runs with their widest accuracy, of this runtime if there is one, and their newest time here.

        Where no number of `threads` is named, a time on one thread, as pages take it, stands before all others.
        """
        ids = chosen.subquery()
        files = (
            select(FileRow, SubjectRow, NoteRow.favourite, NoteRow.note, NoteRow.deleted)
            .join(SubjectRow, SubjectRow.id == FileRow.subject_id)
            .outerjoin(NoteRow, NoteRow.file_id == FileRow.id)
        )
        files = files.where(FileRow.id.in_(select(ids.c.id))).order_by(FileRow.created.desc(), FileRow.id)
        here = AccuracyRow.runtime == self.machine.runtime
        accuracies = select(AccuracyRow).where(AccuracyRow.file_id.in_(select(ids.c.id)))
        times = select(LatencyRow).join(MachineRow).where(MachineRow.hardware == self._here)
        times = times.where(LatencyRow.file_id.in_(select(ids.c.id)))
        alone = LatencyRow.threads == 1
        if threads is not None:
            times = times.where(LatencyRow.threads == threads)
        with self._database.read() as connection:
            chosen_by = AccuracyRow.runtime.endswith(VALIDATION, autoescape=True)
            rows = _rows(connection, accuracies.order_by(chosen_by.desc(), AccuracyRow.n, here))
            found = {row.file_id: row for row in rows}
            took = {row.file_id: row for row in _rows(connection, times.order_by(alone, LatencyRow.id))}
            machines = dict(readable(_rows(connection, select(MachineRow)), machine_of, "a machine"))
            rows = [row for row in _rows(connection, files) if row.id in found]
        return readable(rows, lambda row: run_of(row, found[row.id], took.get(row.id), machines), "a run")


def _address() -> str:
    return os.environ.get("COMPRESSION_DATABASE") or f"sqlite:///{user_folder() / 'store.sqlite'}"


def _rows(connection: Connection, chosen: Executable) -> Sequence[Any]:
    return connection.execute(chosen).all()


def _machine(machine: Machine) -> dict[str, str]:
    hardware = replace(machine, python="", torch="", onnxruntime="", system="")
    return {"id": digest(dump(machine)), "hardware": digest(dump(hardware)), "record": dump(machine)}


def _key(run: str, measurement: Measurement) -> dict[str, Any]:
    chosen_by = VALIDATION if measurement.accuracy.split == "validation" else ""
    return {"file_id": run, "runtime": measurement.machine.runtime + chosen_by, "n": measurement.accuracy.n}


def _accuracy(run: str, measurement: Measurement, now: datetime) -> dict[str, Any]:
    found = measurement.accuracy
    return {
        **_key(run, measurement), "value": found.value, "low": found.interval.low, "high": found.interval.high,
        "record": dump(found), "machine_id": _machine(measurement.machine)["id"], "measured": now,
    }  # fmt: skip


def _latency(run: str, measurement: Measurement, took: Latency, now: datetime) -> dict[str, Any]:
    return {
        "file_id": run, "machine_id": _machine(measurement.machine)["id"], "threads": took.threads,
        "runtime": measurement.machine.runtime, "p50_ms": took.p50_ms, "ratio": took.ratio, "record": dump(took),
        "measured": now,
    }  # fmt: skip


def _keep(connection: Connection, table: type[Base], values: dict[str, Any], *, anew: bool = False) -> None:
    """Inserts a row unless its key is there; `anew` replaces what stands there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(table).values(**values)
    key = [column.name for column in table.__table__.primary_key]
    rest = {name: value for name, value in values.items() if name not in key}
    connection.execute(
        row.on_conflict_do_update(index_elements=key, set_=rest)
        if anew else row.on_conflict_do_nothing(index_elements=key)
    )  # fmt: skip
