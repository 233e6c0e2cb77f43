"""Predictions: what versions cost devices, and what rollouts were to take; limits of groups that hold for nobody go."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "version_costs",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("latency_p50_ms", sa.Float(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_version_costs_device_id_devices")),
        sa.PrimaryKeyConstraint("sha256", "device_id", name=op.f("pk_version_costs")),
    )
    with op.batch_alter_table("version_costs") as batch_op:
        batch_op.create_index("ix_version_costs_hardware", ["sha256", "hardware", "measured_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_version_costs_device_id"), ["device_id"], unique=False)
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.add_column(sa.Column("forecast_bytes", sa.BigInteger(), nullable=True))
    op.execute(  # of no group, or of a dynamic one
        "DELETE FROM transfer_limits WHERE scope = 'groups' "
        "AND name NOT IN (SELECT name FROM device_groups WHERE query IS NULL)"
    )


def downgrade() -> None:
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.drop_column("forecast_bytes")
    op.drop_table("version_costs")
