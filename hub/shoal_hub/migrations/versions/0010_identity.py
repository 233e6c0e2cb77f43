"""Groups, authorised keys, enrolment by hand, and certificates that are kept to be given again."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "authorised_keys",
        sa.Column("key_sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("device_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_authorised_keys_device_id_devices")),
        sa.PrimaryKeyConstraint("key_sha256", name=op.f("pk_authorised_keys")),
    )
    op.create_table(
        "pending_enrolments",
        sa.Column("key_sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hardware", sa.JSON(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("first_asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key_sha256", name=op.f("pk_pending_enrolments")),
    )
    op.create_index(op.f("ix_pending_enrolments_state"), "pending_enrolments", ["state"])
    op.create_index(op.f("ix_pending_enrolments_last_asked_at"), "pending_enrolments", ["last_asked_at"])
    _add_columns()


def _add_columns() -> None:
    with op.batch_alter_table("devices") as batch_op:
        batch_op.add_column(sa.Column("group", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("certificate_expires_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("encryption_key", sa.String(), nullable=True))
        batch_op.create_index(batch_op.f("ix_devices_group"), ["group"])
    with op.batch_alter_table("enrolment_tokens") as batch_op:
        batch_op.add_column(sa.Column("group", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("tags", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("ca_sha256", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("device_certificates") as batch_op:
        batch_op.add_column(sa.Column("authority", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("certificate_pem", sa.String(), nullable=False, server_default=""))
        batch_op.drop_index(batch_op.f("ix_device_certificates_key_sha256"))
        batch_op.create_index(batch_op.f("ix_device_certificates_key_sha256"), ["key_sha256"], unique=True)


def downgrade() -> None:
    with op.batch_alter_table("device_certificates") as batch_op:
        batch_op.drop_index(batch_op.f("ix_device_certificates_key_sha256"))
        batch_op.create_index(batch_op.f("ix_device_certificates_key_sha256"), ["key_sha256"], unique=False)
        batch_op.drop_column("certificate_pem")
        batch_op.drop_column("authority")
    with op.batch_alter_table("enrolment_tokens") as batch_op:
        batch_op.drop_column("ca_sha256")
        batch_op.drop_column("tags")
        batch_op.drop_column("group")
    with op.batch_alter_table("devices") as batch_op:
        batch_op.drop_index(batch_op.f("ix_devices_group"))
        batch_op.drop_column("encryption_key")
        batch_op.drop_column("certificate_expires_at")
        batch_op.drop_column("group")
    op.drop_table("pending_enrolments")
    op.drop_table("authorised_keys")
