"""Captured samples and batch jobs: what is asked of devices, what has come, and what an upload is about."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "capture_requests",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("group", sa.String(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("max_samples_per_day", sa.Integer(), nullable=False),
        sa.Column("max_bytes_per_day", sa.BigInteger(), nullable=False),
        sa.Column("after_s", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_capture_requests")),
    )
    op.create_table(
        "captures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("sample", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("label", sa.BigInteger(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("true_label", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_captures_device_id_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captures")),
        sa.UniqueConstraint("device_id", "name", name=op.f("uq_captures_device_id_name")),
    )
    with op.batch_alter_table("captures") as batch_op:
        for column in ("model", "sha256", "received_at"):
            batch_op.create_index(batch_op.f(f"ix_captures_{column}"), [column], unique=False)
    op.create_table(
        "batches",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_batches")),
    )
    op.create_table(
        "batch_devices",
        sa.Column("batch", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("result_bytes", sa.BigInteger(), nullable=False),
        sa.Column("result_sha256", sa.String(), nullable=True),
        sa.Column("is_stored", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.name"], name=op.f("fk_batch_devices_batch_batches"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_batch_devices_device_id_devices")),
        sa.PrimaryKeyConstraint("batch", "device_id", name=op.f("pk_batch_devices")),
    )
    with op.batch_alter_table("batch_devices") as batch_op:
        batch_op.create_index(batch_op.f("ix_batch_devices_device_id"), ["device_id"], unique=False)
        batch_op.create_index("ix_batch_devices_is_stored_ended_at", ["is_stored", "ended_at"], unique=False)
    op.add_column("uploads", sa.Column("about", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("uploads", "about")
    op.drop_table("batch_devices")
    op.drop_table("batches")
    op.drop_table("captures")
    op.drop_table("capture_requests")
