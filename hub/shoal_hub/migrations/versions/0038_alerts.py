"""Alerts: rules, thresholds, silences, channels; what came of them, and the outbox that tells it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def _time(name: str, *, is_nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=is_nullable)


def _text(name: str, *, is_nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=is_nullable)


def _set_by_people() -> None:
    op.create_table(
        "alert_rules",
        _text("name"),
        sa.Column("body", sa.JSON(), nullable=False),
        _text("set_by"),
        _time("set_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_rules")),
    )
    op.create_table(
        "alert_thresholds",
        _text("model"),
        _text("metric"),
        sa.Column("value", sa.Float(), nullable=False),
        _text("set_by"),
        _time("set_at"),
        sa.PrimaryKeyConstraint("model", "metric", name=op.f("pk_alert_thresholds")),
    )
    op.create_table(
        "alert_silences",
        _text("id"),
        sa.Column("matchers", sa.JSON(), nullable=False),
        _time("starts_at"),
        _time("ends_at"),
        _text("reason"),
        _text("created_by"),
        _time("created_at"),
        _text("ended_by"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_silences")),
    )
    op.create_table(
        "alert_channels",
        _text("name"),
        _text("kind"),
        _text("address"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _text("least_severity"),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        _text("set_by"),
        _time("set_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_channels")),
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        _text("id"),
        _text("rule"),
        _text("key"),
        _text("state"),
        _text("severity"),
        sa.Column("labels", sa.JSON(), nullable=False),
        _text("message"),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("held_s", sa.Float(), nullable=False),
        sa.Column("clear_s", sa.Float(), nullable=True),
        _time("pending_at"),
        _time("fired_at", is_nullable=True),
        _time("resolved_at", is_nullable=True),
        _text("resolution"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    is_open = sa.text("state <> 'resolved'")
    op.create_index(
        "ix_alerts_open", "alerts", ["rule", "key"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("ix_alerts_state", "alerts", ["state", "pending_at"], unique=False)
    op.create_table(
        "alert_acknowledgements",
        _text("alert_id"),
        _text("by"),
        _text("note"),
        _time("at"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_alert_acknowledgements_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert_acknowledgements")),
    )


def _outbox() -> None:
    op.create_table(
        "alert_notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _text("alert_id"),
        _text("channel"),
        _text("transition"),
        sa.Column("number", sa.Integer(), nullable=False),
        _time("created_at"),
        _text("delivery_id", is_nullable=True),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_alert_notices_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_notices")),
        sa.UniqueConstraint(
            "alert_id",
            "channel",
            "transition",
            "number",
            name=op.f("uq_alert_notices_alert_id_channel_transition_number"),
        ),
    )
    op.create_index("ix_alert_notices_waiting", "alert_notices", ["delivery_id", "channel"], unique=False)
    op.create_table(
        "alert_deliveries",
        _text("id"),
        _text("key"),
        _text("channel"),
        _text("about"),
        sa.Column("payload", sa.JSON(), nullable=False),
        _text("state"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("waited_s", sa.Float(), nullable=False),
        _time("next_at"),
        _time("begun_at", is_nullable=True),
        _text("problem"),
        _time("created_at"),
        _time("sent_at", is_nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_deliveries")),
        sa.UniqueConstraint("key", name=op.f("uq_alert_deliveries_key")),
    )
    op.create_index("ix_alert_deliveries_state", "alert_deliveries", ["state", "created_at"], unique=False)
    op.create_index("ix_alert_deliveries_about", "alert_deliveries", ["channel", "about", "created_at"], unique=False)


def upgrade() -> None:
    _set_by_people()
    _alerts()
    _outbox()


def downgrade() -> None:
    for table in (
        "alert_deliveries",
        "alert_notices",
        "alert_acknowledgements",
        "alerts",
        "alert_channels",
        "alert_silences",
        "alert_thresholds",
        "alert_rules",
    ):
        op.drop_table(table)
