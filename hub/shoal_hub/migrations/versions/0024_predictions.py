"""Predictions: what versions cost devices, and what rollouts were to take; limits of groups hold for whom they list."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_MESSAGE = 1000
"""Characters of an event's message; its body names all."""
_limits = sa.table("transfer_limits", sa.column("scope", sa.String()), sa.column("name", sa.String()))
_groups = sa.table("device_groups", sa.column("name", sa.String()), sa.column("query", sa.String()))
_events = sa.table(
    "events",
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("received_at", sa.DateTime(timezone=True)),
    sa.column("kind", sa.String()),
    sa.column("subject", sa.String()),
    sa.column("severity", sa.String()),
    sa.column("message", sa.String()),
    sa.column("body", sa.JSON()),
)


def upgrade() -> None:
    op.create_table(
        "version_costs",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("latency_p50_ms", sa.Float(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_version_costs_device_id_devices")),
        sa.PrimaryKeyConstraint("sha256", "device_id", name=op.f("pk_version_costs")),
    )
    with op.batch_alter_table("version_costs") as batch_op:
        batch_op.create_index("ix_version_costs_hardware", ["sha256", "hardware", "measured_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_version_costs_device_id"), ["device_id"], unique=False)
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.add_column(sa.Column("forecast_bytes", sa.BigInteger(), nullable=True))
    _drop_limits_of_nobody()
    _tell_listed_devices()


def downgrade() -> None:
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.drop_column("forecast_bytes")
    op.drop_table("version_costs")


def _drop_limits_of_nobody() -> None:
    """Take away limits of no group, or of a dynamic one, and say so: whoever set them ahead has to set them again."""
    connection = op.get_bind()
    static = sa.select(_groups.c.name).where(_groups.c.query.is_(None))
    of_nobody = sa.and_(_limits.c.scope == "groups", _limits.c.name.not_in(static))
    names = list(connection.execute(sa.select(_limits.c.name).where(of_nobody).order_by(_limits.c.name)).scalars())
    if not names:
        return
    connection.execute(sa.delete(_limits).where(of_nobody))
    now = datetime.now(UTC)
    text = f"limits were deleted that held for no device, as there is no static group of the name: {', '.join(names)}"
    event = {"at": now, "received_at": now, "kind": "limits_deleted", "subject": "limits/groups", "severity": "warning"}
    connection.execute(sa.insert(_events).values(**event, message=text[:_MESSAGE], body={"groups": names}))


def _tell_listed_devices() -> None:
    """Have the devices that a limited group lists told: so far its limits held for those at home in it alone."""
    op.execute(
        "INSERT INTO stale_desired_states (device_id) "
        "SELECT DISTINCT group_devices.device_id FROM group_devices "
        """JOIN transfer_limits ON transfer_limits.name = group_devices."group" """
        "WHERE transfer_limits.scope = 'groups' "
        "AND group_devices.device_id NOT IN (SELECT device_id FROM stale_desired_states)"
    )
