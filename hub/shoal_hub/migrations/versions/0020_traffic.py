"""Traffic: the byte ledger of each device and month, limits of what devices take, and lists of artifacts' chunks."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "month_ledgers",
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("stream", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.JSON(), nullable=False),
        sa.Column("earlier", sa.JSON(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_month_ledgers_device_id_devices")),
        sa.PrimaryKeyConstraint("device_id", "month", name=op.f("pk_month_ledgers")),
    )
    op.create_table(
        "transfer_limits",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("max_fetch_bytes_per_s", sa.BigInteger(), nullable=True),
        sa.Column("max_bytes_per_month", sa.BigInteger(), nullable=True),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_transfer_limits")),
    )

    op.create_table(
        "chunk_lists",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("chunk_bytes", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["artifacts.sha256"], name=op.f("fk_chunk_lists_sha256_artifacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sha256", "chunk_bytes", name=op.f("pk_chunk_lists")),
    )


def downgrade() -> None:
    op.drop_table("chunk_lists")
    op.drop_table("transfer_limits")
    op.drop_table("month_ledgers")
