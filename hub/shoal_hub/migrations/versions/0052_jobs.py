"""Jobs have a priority, are tried again after a while, and say why an attempt came to nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("cause", sa.String(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.execute("UPDATE jobs SET state = 'failed' WHERE state = 'cancelled'")
    op.drop_column("jobs", "not_before")
    op.drop_column("jobs", "cause")
    op.drop_column("jobs", "priority")
