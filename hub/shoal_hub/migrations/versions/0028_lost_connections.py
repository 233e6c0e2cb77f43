"""When a connection was lost: a device counts as offline once it has not come back within a grace."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0026"
branch_labels = None
depends_on = None

_IS_LOST = sa.text("presence_lost_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("devices", sa.Column("presence_lost_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_devices_lost", "devices", ["presence_lost_at"], sqlite_where=_IS_LOST, postgresql_where=_IS_LOST
    )


def downgrade() -> None:
    """Forget who was about to come back: they stay online until they miss their heartbeats."""
    op.drop_index("ix_devices_lost", "devices")
    op.drop_column("devices", "presence_lost_at")
