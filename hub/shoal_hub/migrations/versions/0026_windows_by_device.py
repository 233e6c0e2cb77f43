"""Windows are found by device and time: a gate reads those of its own devices alone, part by part."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_windows_device", "windows", ["model", "device_id", "started_at"])
    op.drop_index("ix_windows_time", "windows")


def downgrade() -> None:
    op.create_index("ix_windows_time", "windows", ["model", "started_at", "device_id"])
    op.drop_index("ix_windows_device", "windows")
