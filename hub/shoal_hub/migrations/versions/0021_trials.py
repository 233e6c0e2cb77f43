"""Trials: a candidate beside the version that serves, in shadow or for a share."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("against", sa.Integer(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("manifest_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("max_cpu_share", sa.Float(), nullable=False),
        sa.Column("max_memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("tolerance", sa.Float(), nullable=False),
        sa.Column("hard_examples", sa.Integer(), nullable=False),
        sa.Column("stop_after_samples", sa.BigInteger(), nullable=True),
        sa.Column("stop_on_harm", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_trials_model_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
    )
    with op.batch_alter_table("trials") as batch_op:
        batch_op.create_index(batch_op.f("ix_trials_model"), ["model"], unique=False)
        batch_op.create_index(batch_op.f("ix_trials_state"), ["state"], unique=False)
    op.create_table(
        "trial_devices",
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_trial_devices_device_id_devices")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_trial_devices_trial_id_trials")),
        sa.PrimaryKeyConstraint("trial_id", "device_id", name=op.f("pk_trial_devices")),
    )
    with op.batch_alter_table("trial_devices") as batch_op:
        batch_op.create_index(batch_op.f("ix_trial_devices_device_id"), ["device_id"], unique=False)
    op.create_table(
        "shadow_windows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("compared", sa.BigInteger(), nullable=False),
        sa.Column("disagreed", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("latency", sa.JSON(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_shadow_windows_device_id_devices")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_shadow_windows_trial_id_trials")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_windows")),
    )
    with op.batch_alter_table("shadow_windows") as batch_op:
        batch_op.create_index("ix_shadow_windows_stream", ["trial_id", "device_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("shadow_windows")
    op.drop_table("trial_devices")
    op.drop_table("trials")
