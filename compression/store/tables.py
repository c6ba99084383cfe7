"""The tables. Keys are hashes of content, so that two programs that keep the same thing keep it once.

What is searched for has a column of its own; the complete record stands beside it as JSON (`record`), so that a record
with one field more needs no new column.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

PREFIX = "compression_"
VERSION_TABLE = "compression_version"


class Moment(TypeDecorator[datetime]):
    """A time in UTC; databases keep it without a zone."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite has texts, in which anything may stand."""
        return dialect.type_descriptor(_Text() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From UTC."""
        return value.replace(tzinfo=UTC) if value else None


class _Text(sqlite.DATETIME):
    """A time in SQLite; None where what stands there is none."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Reads it."""
        read = super().result_processor(dialect, coltype)

        def time_of(value: Any) -> datetime | None:
            try:
                return read(value) if read else None
            except (TypeError, ValueError):
                return None

        return time_of


class Base(DeclarativeBase):
    """All of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment}  # noqa: RUF012 - SQLAlchemy's way to say it


class SubjectRow(Base):
    """A network with its weights, and the images that it is calibrated and measured on."""

    __tablename__ = PREFIX + "subjects"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    weights: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    weights_hash: Mapped[str] = mapped_column(String(64))
    data_fingerprint: Mapped[str] = mapped_column(String(64))


class FileRow(Base):
    """An ONNX file and what made it. `id` is the run's: a hash of subject, recipe, engine and the file's bytes."""

    __tablename__ = PREFIX + "files"
    __table_args__ = (Index("ix_compression_files_request", "subject_id", "recipe_hash", "engine"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey(SubjectRow.id))
    role: Mapped[str] = mapped_column(String(16))
    recipe: Mapped[str] = mapped_column(Text)
    recipe_hash: Mapped[str] = mapped_column(String(64), index=True)
    engine: Mapped[str] = mapped_column(String(16))
    file_hash: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    baseline_size_bytes: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int | None] = mapped_column(BigInteger)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    n_test: Mapped[int]
    seconds: Mapped[float]
    ledger: Mapped[str | None] = mapped_column(Text)
    reached: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)
    created: Mapped[datetime] = mapped_column(index=True)


class MachineRow(Base):
    """Where something was measured: `id` is of the whole record with its versions, `hardware` of the machine alone."""

    __tablename__ = PREFIX + "machines"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    hardware: Mapped[str] = mapped_column(String(16))
    record: Mapped[str] = mapped_column(Text)


class AccuracyRow(Base):
    """A file's accuracy on the first `n` images of the fixed order, in one runtime."""

    __tablename__ = PREFIX + "accuracies"

    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), primary_key=True)
    runtime: Mapped[str] = mapped_column(String(100), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    record: Mapped[str] = mapped_column(Text)
    machine_id: Mapped[str] = mapped_column(ForeignKey(MachineRow.id))
    measured: Mapped[datetime]


class PredictionRow(Base):
    """The answers behind an accuracy: class uint16 and confidence float16 of each image, little-endian.

    `images` is None where they are the first `n` of the fixed order, else their indices as int32.
    """

    __tablename__ = PREFIX + "predictions"

    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), primary_key=True)
    runtime: Mapped[str] = mapped_column(String(100), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    images: Mapped[bytes | None] = mapped_column(LargeBinary)
    classes: Mapped[bytes] = mapped_column(LargeBinary)
    confidences: Mapped[bytes] = mapped_column(LargeBinary)


class LatencyRow(Base):
    """A file's latency on one machine; each measurement is kept."""

    __tablename__ = PREFIX + "latencies"

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), index=True)
    machine_id: Mapped[str] = mapped_column(ForeignKey(MachineRow.id))
    threads: Mapped[int]
    runtime: Mapped[str] = mapped_column(String(100))
    p50_ms: Mapped[float]
    ratio: Mapped[float]
    record: Mapped[str] = mapped_column(Text)
    measured: Mapped[datetime]


class LayerRow(Base):
    """One layer of a file."""

    __tablename__ = PREFIX + "layers"

    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    record: Mapped[str] = mapped_column(Text)


class PointRow(Base):
    """One point of a learning curve; `source` is the id of the job or the run that learned."""

    __tablename__ = PREFIX + "points"

    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    record: Mapped[str] = mapped_column(Text)


class NoteRow(Base):
    """What a user said of a run. A run with a time in `deleted` is out of sight and can be brought back."""

    __tablename__ = PREFIX + "notes"

    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), primary_key=True)
    favourite: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str] = mapped_column(Text, default="")
    deleted: Mapped[datetime | None]


class JobRow(Base):
    """A long job. `app` is the program that carries it out, `wanted` what another program asks of it."""

    __tablename__ = PREFIX + "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(Text)
    request: Mapped[str] = mapped_column(Text)
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), index=True)
    sentence: Mapped[str] = mapped_column(Text)
    share: Mapped[float]
    progress: Mapped[str | None] = mapped_column(Text)
    app: Mapped[str | None] = mapped_column(Text)
    wanted: Mapped[str | None] = mapped_column(String(16))
    run_id: Mapped[str | None] = mapped_column(String(16))
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    heard: Mapped[datetime]


class MakerRow(Base):
    """The member of a team who had a file made first; no row where there was no team."""

    __tablename__ = PREFIX + "makers"

    file_id: Mapped[str] = mapped_column(ForeignKey(FileRow.id), primary_key=True)
    member: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class UsageRow(Base):
    """What a member of a team used on a day (UTC), by counting up."""

    __tablename__ = PREFIX + "usage"

    member: Mapped[str] = mapped_column(String(200), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    seconds: Mapped[float]
    uploads: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
