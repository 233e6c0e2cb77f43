"""Devices of a site pass requests on to each other, by a policy of the site."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sites", sa.Column("handover", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("sites", "handover")
