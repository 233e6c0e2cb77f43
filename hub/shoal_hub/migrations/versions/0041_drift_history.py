"""Windows are merged by hour and day, device-days have scores, and signals say more of what has moved."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NOT_YET = sa.text("NOT is_rolled_up")


def upgrade() -> None:
    op.create_table(
        "drift_periods",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("span", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("windows", "requests", "samples", "errors", "labelled", "correct")
        ),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_periods")),
        sa.UniqueConstraint(
            "model",
            "version",
            "span",
            "scope",
            "name",
            "started_at",
            name=op.f("uq_drift_periods_model_version_span_scope_name_started_at"),
        ),
    )
    op.create_index("ix_drift_periods_age", "drift_periods", ["span", "scope", "started_at"], unique=False)
    op.create_table(
        "drift_device_days",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("block", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("features", sa.Integer(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in ("samples", "drifted", "ks", "psi")),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_device_days")),
        sa.UniqueConstraint(
            "model", "version", "started_at", "block", name=op.f("uq_drift_device_days_model_version_started_at_block")
        ),
    )
    op.create_index("ix_drift_device_days_age", "drift_device_days", ["started_at"], unique=False)
    op.add_column("windows", sa.Column("is_rolled_up", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index(
        "ix_windows_to_roll_up",
        "windows",
        ["model", "version", "device_id", "id"],
        unique=False,
        sqlite_where=_NOT_YET,
        postgresql_where=_NOT_YET,
    )
    op.add_column("drift_signals", sa.Column("embedding", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("drift_evidence", sa.Column("samples", sa.BigInteger(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    op.drop_column("drift_evidence", "samples")
    op.drop_column("drift_signals", "embedding")
    op.drop_index("ix_windows_to_roll_up", table_name="windows")
    op.drop_column("windows", "is_rolled_up")
    op.drop_table("drift_device_days")
    op.drop_table("drift_periods")
