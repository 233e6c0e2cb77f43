"""What a version declares of its inputs and outputs."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("processing", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("versions", "processing")
