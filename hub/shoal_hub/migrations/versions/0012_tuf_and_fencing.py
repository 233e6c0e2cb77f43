"""TUF metadata, staged and in force; the numbers that fence off a controller that has been followed by another."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trust_metadata",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", "version", name=op.f("pk_trust_metadata")),
    )
    op.create_table(
        "trust_staged",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_trust_staged")),
    )
    op.create_table(
        "trust_targets",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("path", "sha256", name=op.f("pk_trust_targets")),
    )
    for table in ("trust_writers", "controller_fences"):
        made = op.create_table(
            table,
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("number", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        )
        op.bulk_insert(made, [{"id": 1, "number": 0}])


def downgrade() -> None:
    for table in ("controller_fences", "trust_writers", "trust_targets", "trust_staged", "trust_metadata"):
        op.drop_table(table)
