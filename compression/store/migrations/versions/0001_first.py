"""The first tables: what runs, measurements, layers, curves, notes and jobs need."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

P = "compression_"


def upgrade() -> None:
    """Creates them."""
    _subjects_and_files()
    _measurements()
    _details()
    _jobs()


def _subjects_and_files() -> None:
    op.create_table(
        P + "subjects",
        sa.Column("id", sa.String(16), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("model", "weights", "dataset")),
        sa.Column("weights_hash", sa.String(64), nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compression_subjects"),
    )
    op.create_table(
        P + "files",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("subject_id", sa.String(16), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("recipe_hash", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(16), nullable=False),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("baseline_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger),
        sa.Column("parameters", sa.BigInteger),
        sa.Column("n_test", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("ledger", sa.Text),
        sa.Column("reached", sa.Text),
        sa.Column("job_id", sa.String(32)),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compression_files"),
        _of("files", "subject_id", "subjects"),
    )
    for name in ("recipe_hash", "file_hash", "job_id", "created"):
        op.create_index(f"ix_compression_files_{name}", P + "files", [name])
    op.create_index("ix_compression_files_request", P + "files", ["subject_id", "recipe_hash", "engine"])


def _measurements() -> None:
    op.create_table(
        P + "machines",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("hardware", sa.String(16), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compression_machines"),
    )
    op.create_table(
        P + "accuracies",
        *_accuracy_key(),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("value", "low", "high")),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("machine_id", sa.String(16), nullable=False),
        sa.Column("measured", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "runtime", "n", name="pk_compression_accuracies"),
        _of("accuracies", "file_id", "files"),
        _of("accuracies", "machine_id", "machines"),
    )
    op.create_table(
        P + "predictions",
        *_accuracy_key(),
        sa.Column("images", sa.LargeBinary),
        sa.Column("classes", sa.LargeBinary, nullable=False),
        sa.Column("confidences", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "runtime", "n", name="pk_compression_predictions"),
        _of("predictions", "file_id", "files"),
    )
    op.create_table(
        P + "latencies",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("file_id", sa.String(16), nullable=False),
        sa.Column("machine_id", sa.String(16), nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("runtime", sa.String(100), nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("p50_ms", "ratio")),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("measured", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compression_latencies"),
        _of("latencies", "file_id", "files"),
        _of("latencies", "machine_id", "machines"),
    )
    op.create_index("ix_compression_latencies_file_id", P + "latencies", ["file_id"])


def _details() -> None:
    op.create_table(
        P + "layers",
        sa.Column("file_id", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "position", name="pk_compression_layers"),
        _of("layers", "file_id", "files"),
    )
    op.create_table(
        P + "points",
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("source", "step", name="pk_compression_points"),
    )
    op.create_table(
        P + "notes",
        sa.Column("file_id", sa.String(16), nullable=False),
        sa.Column("favourite", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("deleted", sa.DateTime),
        sa.PrimaryKeyConstraint("file_id", name="pk_compression_notes"),
        _of("notes", "file_id", "files"),
    )


def _jobs() -> None:
    op.create_table(
        P + "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("progress", sa.Text),
        sa.Column("app", sa.Text),
        sa.Column("wanted", sa.String(16)),
        sa.Column("run_id", sa.String(16)),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("started", sa.DateTime),
        sa.Column("ended", sa.DateTime),
        sa.Column("heard", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compression_jobs"),
    )
    op.create_index("ix_compression_jobs_state", P + "jobs", ["state"])


def _accuracy_key() -> tuple[sa.Column, ...]:
    return (
        sa.Column("file_id", sa.String(16), nullable=False),
        sa.Column("runtime", sa.String(100), nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
    )


def _of(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{P}{other}.id"], name=f"fk_compression_{table}_{column}")
