"""Model cards, licences, code commits and provenance of versions and variants; what uploads came to."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("versions") as batch_op:
        batch_op.add_column(sa.Column("card", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("licence", sa.String(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("code", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("provenance_sha256", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("bom_sha256", sa.String(), nullable=True))
    with op.batch_alter_table("variants") as batch_op:
        batch_op.add_column(sa.Column("provenance_sha256", sa.String(), nullable=True))
    with op.batch_alter_table("uploads") as batch_op:
        batch_op.add_column(sa.Column("received_bytes", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("uploads") as batch_op:
        batch_op.drop_column("received_bytes")
    with op.batch_alter_table("variants") as batch_op:
        batch_op.drop_column("provenance_sha256")
    with op.batch_alter_table("versions") as batch_op:
        for name in ("bom_sha256", "provenance_sha256", "code", "licence", "card"):
            batch_op.drop_column(name)
