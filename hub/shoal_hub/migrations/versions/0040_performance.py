"""What truth came back in a window: counts of labels, errors of values, metrics of the application."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("windows", sa.Column("performance", sa.JSON(), nullable=True))
    with op.batch_alter_table("windows") as batch_op:
        batch_op.create_index("ix_windows_ended", ["model", "ended_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("windows") as batch_op:
        batch_op.drop_index("ix_windows_ended")
    op.drop_column("windows", "performance")
