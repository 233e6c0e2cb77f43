"""What is revoked or retired is found by itself: it is looked for all the time, and few devices of a fleet are."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_IS_REVOKED = sa.text("revoked_at IS NOT NULL")
_IS_RETIRED = sa.text("retired_at IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_devices_revoked", "devices", ["revoked_at"], sqlite_where=_IS_REVOKED, postgresql_where=_IS_REVOKED
    )
    op.create_index(
        "ix_device_certificates_retired",
        "device_certificates",
        ["retired_at"],
        sqlite_where=_IS_RETIRED,
        postgresql_where=_IS_RETIRED,
    )


def downgrade() -> None:
    op.drop_index("ix_device_certificates_retired", "device_certificates")
    op.drop_index("ix_devices_revoked", "devices")
