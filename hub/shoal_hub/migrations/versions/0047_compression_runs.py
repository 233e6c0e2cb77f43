"""Compression runs and the files that they made."""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "compression_runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("benchmark_id", sa.String(), nullable=True),
        sa.Column("source", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_compression_runs_version_id_versions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compression_runs")),
    )
    op.create_index(op.f("ix_compression_runs_model"), "compression_runs", ["model"])
    op.create_index(op.f("ix_compression_runs_state"), "compression_runs", ["state"])
    op.create_table(
        "compression_results",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("recipe_sha256", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("runtime", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("page", sa.String(), nullable=True),
        sa.Column("was_found", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["compression_runs.id"],
            name=op.f("fk_compression_results_run_compression_runs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["sha256"], ["artifacts.sha256"], name=op.f("fk_compression_results_sha256_artifacts")),
        sa.PrimaryKeyConstraint("run", "name", name=op.f("pk_compression_results")),
    )
    op.create_index(op.f("ix_compression_results_recipe_sha256"), "compression_results", ["recipe_sha256"])


def downgrade() -> None:
    op.drop_table("compression_results")
    op.drop_table("compression_runs")
