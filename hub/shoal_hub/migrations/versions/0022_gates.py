"""Gates between waves: looks, vital signs, and how far the inputs of a window lay from the baseline."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gate_looks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("tested", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("alpha_spent", sa.Float(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_gate_looks_rollout_id_rollouts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_looks")),
    )
    with op.batch_alter_table("gate_looks") as batch_op:
        batch_op.create_index("ix_gate_looks_wave", ["rollout_id", "wave", "id"], unique=False)
    op.create_table(
        "device_vitals",
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("beats", sa.Integer(), nullable=False),
        sa.Column("warm_beats", sa.Integer(), nullable=False),
        sa.Column("temperature_c", sa.Float(), nullable=False),
        sa.Column("memory_mb", sa.Float(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("observed_s", sa.Float(), nullable=False),
        sa.Column("uptime_s", sa.Float(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("marked", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_vitals_device_id_devices")),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_device_vitals_rollout_id_rollouts")),
        sa.PrimaryKeyConstraint("rollout_id", "device_id", name=op.f("pk_device_vitals")),
    )
    with op.batch_alter_table("device_vitals") as batch_op:
        batch_op.create_index(batch_op.f("ix_device_vitals_device_id"), ["device_id"], unique=False)
    with op.batch_alter_table("windows") as batch_op:
        batch_op.add_column(sa.Column("drift", sa.Float(), nullable=True))
        batch_op.create_index("ix_windows_time", ["model", "started_at", "device_id"], unique=False)
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.add_column(sa.Column("wave_started_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.drop_column("wave_started_at")
    with op.batch_alter_table("windows") as batch_op:
        batch_op.drop_index("ix_windows_time")
        batch_op.drop_column("drift")
    op.drop_table("device_vitals")
    op.drop_table("gate_looks")
