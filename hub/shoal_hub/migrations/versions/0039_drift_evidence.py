"""What devices say of their own evidence of drift, and by which rule a signal was raised."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_evidence",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("tested", sa.Integer(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("is_told", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_drift_evidence_device_id_devices")),
        sa.PrimaryKeyConstraint("model", "version", "device_id", name=op.f("pk_drift_evidence")),
    )
    with op.batch_alter_table("drift_evidence") as batch_op:
        batch_op.create_index("ix_drift_evidence_told", ["is_told", "model", "version"], unique=False)
    op.add_column("drift_signals", sa.Column("rule", sa.String(), nullable=False, server_default="plain"))


def downgrade() -> None:
    op.drop_column("drift_signals", "rule")
    op.drop_table("drift_evidence")
