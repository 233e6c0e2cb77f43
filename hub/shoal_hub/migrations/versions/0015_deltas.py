"""Deltas between versions' files, which of them are at the broker, and what each deployment took to travel."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    artifact = ["artifacts.sha256"]
    op.create_table(
        "deltas",
        sa.Column("base_sha256", sa.String(), nullable=False),
        sa.Column("result_sha256", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("artifact_sha256", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("encrypted_size_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["base_sha256"], artifact, name=op.f("fk_deltas_base_sha256_artifacts")),
        sa.ForeignKeyConstraint(["result_sha256"], artifact, name=op.f("fk_deltas_result_sha256_artifacts")),
        sa.ForeignKeyConstraint(["artifact_sha256"], artifact, name=op.f("fk_deltas_artifact_sha256_artifacts")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deltas_job_id_jobs")),
        sa.PrimaryKeyConstraint("base_sha256", "result_sha256", name=op.f("pk_deltas")),
    )
    op.create_index(op.f("ix_deltas_result_sha256"), "deltas", ["result_sha256"])
    with op.batch_alter_table("retained") as batch_op:
        batch_op.add_column(sa.Column("deltas", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("retained") as batch_op:
        batch_op.alter_column("deltas", server_default=None)
    with op.batch_alter_table("rollouts") as batch_op:
        batch_op.add_column(sa.Column("deltas_until", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("deployments") as batch_op:
        batch_op.add_column(sa.Column("fetched_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for table, column in (("deployments", "fetched_bytes"), ("rollouts", "deltas_until"), ("retained", "deltas")):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column(column)
    op.drop_table("deltas")
