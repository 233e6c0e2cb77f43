"""Gates and trials: who joined late, since when a rollout is paused, who was asked, and what ended trials came to."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.add_column(sa.Column("is_late_joiner", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.add_column(sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("asked_wave", sa.Integer(), nullable=False, server_default="-1"))
    with op.batch_alter_table("trials") as batch_op:
        batch_op.add_column(sa.Column("results", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("trials") as batch_op:
        batch_op.drop_column("results")
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.drop_column("asked_wave")
        batch_op.drop_column("paused_at")
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.drop_column("is_late_joiner")
