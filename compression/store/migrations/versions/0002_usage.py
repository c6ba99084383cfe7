"""The table of what members of a team use."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates it."""
    op.create_table(
        "compression_usage",
        sa.Column("member", sa.String(200), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("uploads", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("member", "day", name="pk_compression_usage"),
    )
