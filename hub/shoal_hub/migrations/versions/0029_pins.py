"""Pins by device, which each step of a rollout asks for; no indexes that others begin with or nothing searches by."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_IS_PIN = sa.text("kind = 'pin'")
_UNUSED = {"ix_deployments_state": ["state"], "ix_deployments_rollout_id": ["rollout_id"]}


def upgrade() -> None:
    op.create_index(
        "ix_intents_pins", "intents", ["device_id", "section"], sqlite_where=_IS_PIN, postgresql_where=_IS_PIN
    )
    for name in _UNUSED:
        op.drop_index(name, "deployments")


def downgrade() -> None:
    for name, columns in _UNUSED.items():
        op.create_index(name, "deployments", columns)
    op.drop_index("ix_intents_pins", "intents")
