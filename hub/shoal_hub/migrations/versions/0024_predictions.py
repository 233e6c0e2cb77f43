"""Limits of groups that hold for nobody go: those of no group, and of dynamic ones."""

from alembic import op

revision = "0024"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "DELETE FROM transfer_limits WHERE scope = 'groups' "
        "AND name NOT IN (SELECT name FROM device_groups WHERE query IS NULL)"
    )


def downgrade() -> None:
    pass  # nobody was limited by what is gone
