"""The tables of what members of a team use, and of who had which file made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates them."""
    op.create_table(
        "compression_usage",
        sa.Column("member", sa.String(200), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("uploads", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("member", "day", name="pk_compression_usage"),
    )
    op.create_table(
        "compression_makers",
        sa.Column("file_id", sa.String(16), nullable=False),
        sa.Column("member", sa.String(200), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["compression_files.id"], name="fk_compression_makers_file_id"),
        sa.PrimaryKeyConstraint("file_id", name="pk_compression_makers"),
    )
