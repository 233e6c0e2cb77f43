"""Traffic: the byte ledger of each device and month, and limits of what devices take."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0017"
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


def downgrade() -> None:
    op.drop_table("transfer_limits")
    op.drop_table("month_ledgers")
