"""Sites: devices on one LAN, one of which serves artifacts to the others."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sites",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cache_id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cache_id"], ["devices.id"], name=op.f("fk_sites_cache_id_devices")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sites")),
    )
    op.create_table(
        "site_devices",
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_site_devices_device_id_devices")),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name=op.f("fk_site_devices_site_sites"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_site_devices")),
    )
    with op.batch_alter_table("site_devices") as batch_op:
        batch_op.create_index(batch_op.f("ix_site_devices_site"), ["site"], unique=False)


def downgrade() -> None:
    op.drop_table("site_devices")
    op.drop_table("sites")
