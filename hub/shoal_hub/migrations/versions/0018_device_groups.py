"""Groups of devices: those that devices, tokens and keys have named so far become static groups."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_NAMING = ("devices", "enrolment_tokens", "authorised_keys", "pending_enrolments")
_groups = sa.table(
    "device_groups",
    sa.column("name"),
    sa.column("description"),
    sa.column("created_by"),
    sa.column("created_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "device_groups",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_device_groups")),
    )
    op.create_table(
        "group_devices",
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group"], ["device_groups.name"], name=op.f("fk_group_devices_group_device_groups"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_group_devices_device_id_devices")),
        sa.PrimaryKeyConstraint("group", "device_id", name=op.f("pk_group_devices")),
    )
    with op.batch_alter_table("group_devices") as batch_op:
        batch_op.create_index(batch_op.f("ix_group_devices_device_id"), ["device_id"], unique=False)
    _fill()


def downgrade() -> None:
    op.drop_table("group_devices")
    op.drop_table("device_groups")


def _fill() -> None:
    connection = op.get_bind()
    names: set[str] = set()
    for table in _NAMING:
        group = sa.column("group", sa.String())
        names.update(connection.execute(sa.select(group).select_from(sa.table(table)).distinct()).scalars())
    at = datetime.now(UTC)
    rows = [{"name": one, "description": "", "created_by": "hub", "created_at": at} for one in sorted(names - {""})]
    if rows:
        connection.execute(sa.insert(_groups), rows)
