"""Devices are counted by presence without a look at their rows; what follows from a traced request is remembered."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_devices_presence", "devices", ["presence", "revoked_at"])
    op.create_table(
        "trace_contexts",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("trace_id", sa.String(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_trace_contexts")),
    )
    op.create_index("ix_trace_contexts_trace_id", "trace_contexts", ["trace_id"])
    op.create_index("ix_trace_contexts_at", "trace_contexts", ["at"])


def downgrade() -> None:
    op.drop_table("trace_contexts")
    op.drop_index("ix_devices_presence", "devices")
