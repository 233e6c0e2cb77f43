"""Encrypted versions: their keys, their ciphertexts, and what is wrapped for which device."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch_op:
        batch_op.add_column(sa.Column("encrypt_versions", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("versions") as batch_op:
        batch_op.add_column(sa.Column("is_encrypted", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("variants") as batch_op:
        batch_op.add_column(sa.Column("encrypted_sha256", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("encrypted_size_bytes", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(
            batch_op.f("fk_variants_encrypted_sha256_artifacts"), "artifacts", ["encrypted_sha256"], ["sha256"]
        )

    op.create_table(
        "version_keys",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_version_keys_version_id_versions")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_version_keys")),
    )
    op.create_table(
        "wrapped_keys",
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_wrapped_keys_device_id_devices")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_wrapped_keys_version_id_versions")),
        sa.PrimaryKeyConstraint("device_id", "version_id", "recipient", name=op.f("pk_wrapped_keys")),
    )


def downgrade() -> None:
    op.drop_table("wrapped_keys")
    op.drop_table("version_keys")
    with op.batch_alter_table("variants") as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_variants_encrypted_sha256_artifacts"), type_="foreignkey")
        batch_op.drop_column("encrypted_size_bytes")
        batch_op.drop_column("encrypted_sha256")
    with op.batch_alter_table("versions") as batch_op:
        batch_op.drop_column("is_encrypted")
    with op.batch_alter_table("models") as batch_op:
        batch_op.drop_column("encrypt_versions")
