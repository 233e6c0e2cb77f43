"""Revoked and decommissioned devices: by whom, why, and how far the broker has followed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIMES = ("decommissioned_at", "cut_off_at", "cleared_at")
_TEXTS = ("revoked_by", "revoke_reason")


def upgrade() -> None:
    with op.batch_alter_table("devices") as batch_op:
        for name in _TEXTS:
            batch_op.add_column(sa.Column(name, sa.String(), nullable=False, server_default=""))
        for name in _TIMES:
            batch_op.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("devices") as batch_op:
        for name in _TEXTS:
            batch_op.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("devices") as batch_op:
        for name in (*_TIMES, *_TEXTS):
            batch_op.drop_column(name)
