"""Labels that came back in a window, when a window was received, and which waves of a rollout have a gate."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = datetime.now(UTC).isoformat(" ")  # nobody knows when: those that are there are kept from today on
    if op.get_bind().dialect.name == "sqlite":
        now = now.removesuffix("+00:00")
    received_at = sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=now)
    with op.batch_alter_table("windows") as batch_op:
        batch_op.add_column(sa.Column("labelled", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("correct", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(received_at)
    op.create_index("ix_windows_received", "windows", ["received_at"])
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.add_column(sa.Column("gate_count", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("gate_passed_wave", sa.Integer(), nullable=False, server_default="-1"))


def downgrade() -> None:
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.drop_column("gate_passed_wave")
        batch_op.drop_column("gate_count")
    op.drop_index("ix_windows_received", "windows")
    with op.batch_alter_table("windows") as batch_op:
        batch_op.drop_column("received_at")
        batch_op.drop_column("correct")
        batch_op.drop_column("labelled")
