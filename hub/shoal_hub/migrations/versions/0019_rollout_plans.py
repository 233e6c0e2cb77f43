"""What a rollout's plan asks for beyond waves, how far it has come with it, and why deployments failed."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ROLLOUT = ("plan", "seed", "wave_ended_at", "approved_wave", "fired", "joined_at")
_DEPLOYMENT = ("failure", "waits_for", "tries", "is_settled", "seen_connection", "seen_sequence")


def upgrade() -> None:
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.alter_column("max_failures", existing_type=sa.Integer(), nullable=True)
        batch_op.add_column(sa.Column("plan", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("seed", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("wave_ended_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("approved_wave", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("fired", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.add_column(sa.Column("failure", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("waits_for", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("is_settled", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("seen_connection", sa.BigInteger(), nullable=False, server_default="-1"))
        batch_op.add_column(sa.Column("seen_sequence", sa.BigInteger(), nullable=False, server_default="-1"))
        batch_op.create_index("ix_deployments_standing", ["rollout_id", "state", "wave"])
    _fill()
    for table, columns in (("rollouts", _ROLLOUT), ("deployments", _DEPLOYMENT)):
        with op.batch_alter_table(table) as batch_op:
            for column in columns:
                batch_op.alter_column(column, server_default=None)


def downgrade() -> None:
    op.execute("UPDATE rollouts SET max_failures = 1000000 WHERE max_failures IS NULL")
    op.execute("DELETE FROM deployments WHERE state = 'held_back'")
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.drop_index("ix_deployments_standing")
        for column in _DEPLOYMENT:
            batch_op.drop_column(column)
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.alter_column("max_failures", existing_type=sa.Integer(), nullable=False)
        for column in _ROLLOUT:
            batch_op.drop_column(column)


def _fill() -> None:
    """Say of failures of before what is known of them: which of them were the clock's."""
    op.execute("UPDATE deployments SET failure = 'timed_out' WHERE state = 'timed_out'")
    op.execute("UPDATE deployments SET failure = 'other' WHERE state = 'failed'")
