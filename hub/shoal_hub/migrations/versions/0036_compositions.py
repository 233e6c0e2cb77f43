"""Compositions, and whom they are assigned to."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "compositions",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("form", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_compositions")),
    )
    op.create_table(
        "composition_assignments",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("assigned_by", sa.String(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["name"], ["compositions.name"], name=op.f("fk_composition_assignments_name_compositions")
        ),
        sa.PrimaryKeyConstraint("name", "scope", "target", name=op.f("pk_composition_assignments")),
    )
    with op.batch_alter_table("composition_assignments") as batch_op:
        batch_op.create_index(batch_op.f("ix_composition_assignments_target"), ["target"], unique=False)


def downgrade() -> None:
    for table in ("composition_assignments", "compositions"):
        op.drop_table(table)
