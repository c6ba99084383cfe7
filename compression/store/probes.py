"""What machines of others measured: times and answers of files that are here, from reports of probes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from compression.errors import InvalidFile
from compression.records.measurement import Interval, Predictions
from compression.records.probe import (
    ProbedFile,
    ProbedMachine,
    ProbedPace,
    ProbeLatency,
    ProbeMachine,
    ProbeReport,
)
from compression.store.database import Database
from compression.store.predictions import from_blobs
from compression.store.reading import checked, load, readable
from compression.store.records import digest, dump
from compression.store.tables import FileRow, LatencyRow, MachineRow, PredictionRow, SubjectRow
from compression.team import Act, require

UNKNOWN = "unknown"
"""LiteRT's version where a report does not tell it."""
RUNTIME = 100
"""Characters of a runtime's name in the tables."""


@dataclass(frozen=True)
class Added:
    """What a report brought: the machine's key, how many runs it tells of, and which files are of no run here.

    `failed` are sentences on files that the machine could not answer with; `again`: the report was here already.
    """

    machine: str
    title: str
    runs: int
    unknown: int
    failed: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class KnownMachine:
    """A machine that reports tell of. `key` stays the same when its software changes."""

    key: str
    machine: ProbeMachine
    files: int
    measured: datetime


@dataclass(frozen=True)
class Probed:
    """What one machine measured on a run: its newest times by the number of threads, and its answers."""

    key: str
    machine: ProbeMachine
    latencies: tuple[ProbeLatency, ...]
    answers: Predictions | None
    measured: datetime


class ProbeBook:
    """The part of a store that reports of probes go into. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database):
        self._database = database

    def add(self, report: ProbeReport) -> Added:
        """Takes in a report. Raises `InvalidFile` where none of its files is of a run here, or on other images.

        And `NotAllowed` for who may upload nothing.
        """
        require(Act.WORK)
        now, mark, parts = datetime.now(UTC), digest(report.model_dump_json()), _by_runtime(report)
        with self._database.write() as connection:
            runs = _runs(connection, report)
            missing = sum(_onnx(file) not in runs for file in report.files)
            failed = tuple(file.error for file in report.files if file.error)
            first = next(iter(parts))
            found = Added(_key(first), first.title, sum(map(len, runs.values())), missing, failed)
            if any(_has(connection, digest(dump(machine)), mark) for machine in parts):
                return replace(found, again=True)
            for machine, files in parts.items():
                row = _row(connection, machine)
                for file in files:
                    for run in runs.get(_onnx(file), ()):
                        _add(connection, run, file, row, machine, mark, now)
        return found

    def machines(self) -> list[KnownMachine]:
        """All machines that reports tell of, the newest first."""
        table = select(MachineRow.hardware, MachineRow.record, LatencyRow.file_id, LatencyRow.measured)
        with self._database.read() as connection:
            rows = connection.execute(table.join(LatencyRow).where(_probed()).order_by(LatencyRow.id.desc())).all()
        found: dict[str, tuple[str, set[str], datetime]] = {}
        for key, record, file, measured in rows:
            found.setdefault(key, (record, set(), measured))[1].add(file)
        return readable(found.items(), _known, "a machine of a report")

    def times(self, key: str, threads: int = 1) -> dict[str, ProbeLatency]:
        """The newest latency on a machine, by the SHA-256 of the file; on so many threads where there is such a one."""
        table = select(FileRow.file_hash, LatencyRow.record).join(FileRow, FileRow.id == LatencyRow.file_id)
        chosen = table.join(MachineRow).where(MachineRow.hardware == key)
        with self._database.read() as connection:
            rows = connection.execute(chosen.order_by(LatencyRow.threads == threads, LatencyRow.id)).all()
        return dict(readable(rows, lambda row: (row[0], load(ProbeLatency, row[1])), "a latency of a report"))

    def of_run(self, run: str) -> list[Probed]:
        """What each machine measured on a run, the newest first."""
        table = select(MachineRow.hardware, MachineRow.record, LatencyRow.record, LatencyRow.measured)
        chosen = table.join(LatencyRow).where(LatencyRow.file_id == run, _probed()).order_by(LatencyRow.id.desc())
        found: dict[str, Probed] = {}
        with self._database.read() as connection:
            rows = connection.execute(chosen).all()
            for known, latency in readable(rows, _timed, f"a report on the run {run}"):
                key, known = known.key, found.get(known.key, known)
                if latency.threads not in {each.threads for each in known.latencies}:
                    known = replace(known, latencies=(*known.latencies, latency))
                found[key] = known
            return [replace(each, answers=_answers(connection, run, each)) for each in found.values()]

    def forget(self, key: str) -> None:
        """Takes out everything that a machine has reported. Raises `NotAllowed`."""
        require(Act.WORK)
        with self._database.write() as connection:
            rows = connection.execute(select(MachineRow.id, MachineRow.record).where(MachineRow.hardware == key)).all()
            for machine, known in readable(rows, lambda row: (row[0], load(ProbeMachine, row[1])), "a machine"):
                if known.kind:
                    connection.execute(delete(LatencyRow).where(LatencyRow.machine_id == machine))
                    connection.execute(delete(PredictionRow).where(PredictionRow.runtime == _runtime(known)))


def _known(row: Any) -> KnownMachine:
    key, (record, files, measured) = row
    return checked(KnownMachine, key=key, machine=load(ProbeMachine, record), files=len(files), measured=measured)


def _timed(row: Any) -> tuple[Probed, ProbeLatency]:
    key, machine, took, measured = row
    about = checked(Probed, key=key, machine=load(ProbeMachine, machine), latencies=(), answers=None, measured=measured)
    return about, load(ProbeLatency, took)


def _machine(told: ProbedMachine) -> ProbeMachine:
    """Its id begins with its kind, so that no report speaks for a machine that measured by itself."""
    return ProbeMachine(
        cpu=told.cpu, cores=told.cores, vnni=bool(told.vnni), system=told.system, python=told.python, torch="",
        onnxruntime=told.onnxruntime, id=f"{told.kind}-{told.id}", kind=told.kind, name=told.name,
        saturates=told.saturates, memory_bytes=told.memory_bytes,
    )  # fmt: skip


def _by_runtime(report: ProbeReport) -> dict[ProbeMachine, list[ProbedFile]]:
    """The machine with the ONNX files, and once more, as one that runs LiteRT, with the `.tflite` files."""
    machine = _machine(report.machine)
    found: dict[ProbeMachine, list[ProbedFile]] = {}
    for file in sorted(report.files, key=lambda file: file.of is not None):
        there = replace(machine, litert=report.machine.litert or UNKNOWN) if file.of else machine
        found.setdefault(there, []).append(file)
    return found


def _onnx(file: ProbedFile) -> str:
    """The ONNX file by which a run is found."""
    return file.of or file.sha256


def _row(connection: Connection, machine: ProbeMachine) -> dict[str, str]:
    """The machine's row, which is added where it is new."""
    row = {"id": digest(dump(machine)), "hardware": _key(machine), "record": dump(machine)}
    if not connection.execute(select(MachineRow.id).where(MachineRow.id == row["id"])).first():
        connection.execute(insert(MachineRow), row)
    return row


def _key(machine: ProbeMachine) -> str:
    return digest("probe", machine.id, machine.cpu, machine.name, *(("tflite",) if machine.litert else ()))


def _runtime(machine: ProbeMachine) -> str:
    """What its answers are kept under: they are a machine's own, and never stand for those of this runtime."""
    return f"{_key(machine)} {machine.id} {machine.runtime_version}"[:RUNTIME]


def _probed() -> Any:
    return MachineRow.record.contains('"kind": "probe"') | MachineRow.record.contains('"kind": "browser"')


def _runs(connection: Connection, report: ProbeReport) -> dict[str, list[str]]:
    """The runs here by the SHA-256 of their file, of those that the report tells of."""
    wanted = [_onnx(file) for file in report.files]
    chosen = select(FileRow.file_hash, FileRow.id, FileRow.n_test, SubjectRow.data_fingerprint).join(SubjectRow)
    rows = connection.execute(chosen.where(FileRow.file_hash.in_(wanted))).all()
    if not rows:
        raise InvalidFile("The report contains no file of a stored run; measure the files here first.")
    found: dict[str, list[str]] = {}
    for file, run, n_test, fingerprint in rows:
        if (fingerprint, n_test) == (report.data_fingerprint, report.n_test):
            found.setdefault(file, []).append(run)
    if not found:
        raise InvalidFile("This report was made with other test images than the runs here.")
    return found


def _has(connection: Connection, machine: str, mark: str) -> bool:
    chosen = select(LatencyRow.id).where(LatencyRow.machine_id == machine, LatencyRow.record.contains(mark))
    return connection.execute(chosen.limit(1)).first() is not None


def _add(
    connection: Connection, run: str, file: ProbedFile, row: dict[str, str], machine: ProbeMachine, mark: str,
    now: datetime,
) -> None:  # fmt: skip
    for took in (_latency(pace, file, mark) for pace in file.latency):
        connection.execute(insert(LatencyRow), {
            "file_id": run, "machine_id": row["id"], "threads": took.threads, "runtime": machine.runtime[:RUNTIME],
            "p50_ms": took.p50_ms, "ratio": took.ratio, "record": dump(took), "measured": now,
        })  # fmt: skip
    if file.classes:
        same = PredictionRow.file_id == run, PredictionRow.runtime == _runtime(machine)
        connection.execute(delete(PredictionRow).where(*same))
        connection.execute(insert(PredictionRow), {
            "file_id": run, "runtime": _runtime(machine), "n": len(file.classes), "images": None,
            "classes": np.array(file.classes, "<u2").tobytes(),
            "confidences": np.array(file.confidences, "<f2").tobytes(),
        })  # fmt: skip


def _latency(pace: ProbedPace, file: ProbedFile, mark: str) -> ProbeLatency:
    return ProbeLatency(
        p50_ms=pace.p50_ms, p95_ms=pace.p95_ms, baseline_p50_ms=pace.baseline_p50_ms, ratio=pace.ratio,
        ratio_interval=Interval(pace.ratio_low, pace.ratio_high), pairs=pace.pairs, warm_up=pace.warm_up,
        batch=pace.batch, threads=pace.threads, drift=pace.drift, load=pace.load, p90_ms=pace.p90_ms,
        p99_ms=pace.p99_ms, temperature_c=pace.temperature_c, clock_mhz=pace.clock_mhz, peak_bytes=file.peak_bytes,
        report=mark,
    )  # fmt: skip


def _answers(connection: Connection, run: str, probed: Probed) -> Predictions | None:
    table = select(PredictionRow.images, PredictionRow.classes, PredictionRow.confidences, FileRow.n_test)
    chosen: Sequence[Any] = connection.execute(
        table.join(FileRow)
        .where(PredictionRow.file_id == run, PredictionRow.runtime == _runtime(probed.machine))
        .limit(1)
    ).all()
    found = readable(chosen[:1], lambda row: from_blobs(*row), f"what {probed.key} answered for the run {run}")
    return found[0] if found else None
