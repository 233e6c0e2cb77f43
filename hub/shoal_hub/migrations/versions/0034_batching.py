"""Whether a request may hold several samples of a version."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("batching", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("versions", "batching")
