"""Benchmarks: files of models measured on devices of each class."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("devices_per_class", sa.Integer(), nullable=False),
        sa.Column("patience_s", sa.Float(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmarks")),
    )
    op.create_index(op.f("ix_benchmarks_subject"), "benchmarks", ["subject"])
    op.create_index(op.f("ix_benchmarks_state"), "benchmarks", ["state"])
    op.create_table(
        "benchmark_devices",
        sa.Column("benchmark", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["benchmark"],
            ["benchmarks.id"],
            name=op.f("fk_benchmark_devices_benchmark_benchmarks"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_benchmark_devices_device_id_devices")),
        sa.PrimaryKeyConstraint("benchmark", "device_id", name=op.f("pk_benchmark_devices")),
    )
    op.create_index("ix_benchmark_devices_outcome", "benchmark_devices", ["outcome", "deadline_at"])
    op.create_index(op.f("ix_benchmark_devices_device_id"), "benchmark_devices", ["device_id"])


def downgrade() -> None:
    op.drop_table("benchmark_devices")
    op.drop_table("benchmarks")
