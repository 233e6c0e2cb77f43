"""Windows that are not merged are kept with the reason; windows tell an embedding, slices and misfits."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_PARTS = ("embedding", "slices", "misfits", "left_out")


def upgrade() -> None:
    op.create_table(
        "quarantined_windows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_quarantined_windows_device_id_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_windows")),
    )
    with op.batch_alter_table("quarantined_windows") as batch_op:
        batch_op.create_index("ix_quarantined_windows_stream", ["device_id", "reason", "id"], unique=False)
        batch_op.create_index("ix_quarantined_windows_received", ["received_at"], unique=False)
    for name in _PARTS:
        op.add_column("windows", sa.Column(name, sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    for name in reversed(_PARTS):
        op.drop_column("windows", name)
    op.drop_table("quarantined_windows")
