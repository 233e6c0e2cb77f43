"""Which instances of a device were online, and when it was last seen in two places."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("devices") as batch_op:
        batch_op.add_column(sa.Column("instances", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("clone_seen_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("devices") as batch_op:
        for column in ("clone_seen_at", "instances"):
            batch_op.drop_column(column)
