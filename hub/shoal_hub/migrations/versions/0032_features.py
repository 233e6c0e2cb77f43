"""Feature sets, their versions and assignments, and what each device was told of what is assigned to groups."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feature_sets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feature_sets")),
    )
    op.create_table(
        "feature_set_versions",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["name"], ["feature_sets.name"], name=op.f("fk_feature_set_versions_name_feature_sets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", "number", name=op.f("pk_feature_set_versions")),
    )
    op.create_table(
        "feature_assignments",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("assigned_by", sa.String(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["feature_sets.name"], name=op.f("fk_feature_assignments_name_feature_sets")),
        sa.PrimaryKeyConstraint("name", "scope", "target", name=op.f("pk_feature_assignments")),
    )
    with op.batch_alter_table("feature_assignments") as batch_op:
        batch_op.create_index(batch_op.f("ix_feature_assignments_target"), ["target"], unique=False)
    op.create_table(
        "placements",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("told", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_placements_device_id_devices")),
        sa.PrimaryKeyConstraint("owner", "device_id", name=op.f("pk_placements")),
    )


def downgrade() -> None:
    for table in ("placements", "feature_assignments", "feature_set_versions", "feature_sets"):
        op.drop_table(table)
