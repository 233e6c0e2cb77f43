"""Experiments, runs and what they log; models and versions as clients of MLflow's API know them."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
EXPERIMENTS = sa.table(
    "experiments",
    sa.column("id", sa.String()),
    sa.column("name", sa.String()),
    sa.column("artifact_location", sa.String()),
    sa.column("lifecycle", sa.String()),
    sa.column("created_by", sa.String()),
    sa.column("created_ms", sa.BigInteger()),
    sa.column("updated_ms", sa.BigInteger()),
)


def upgrade() -> None:
    _experiments_and_runs()
    _what_runs_log()
    _logged_models()
    _files()
    _registered()
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    default = {"id": "0", "name": "Default", "artifact_location": "mlflow-artifacts:/0", "lifecycle": "active"}
    _of_what_is_there(now_ms)
    op.bulk_insert(EXPERIMENTS, [default | {"created_by": "hub", "created_ms": now_ms, "updated_ms": now_ms}])


def _experiments_and_runs() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("artifact_location", sa.String(), nullable=False),
        sa.Column("lifecycle", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
        sa.UniqueConstraint("name", name="uq_experiments_name"),
    )
    op.create_table(
        "tracked_runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("lifecycle", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("artifact_uri", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name="fk_tracked_runs_experiment_experiments"),
        sa.PrimaryKeyConstraint("id", name="pk_tracked_runs"),
    )
    op.create_index("ix_tracked_runs_experiment", "tracked_runs", ["experiment"])
    op.create_index("ix_tracked_runs_started_ms", "tracked_runs", ["started_ms"])


def _what_runs_log() -> None:
    op.create_table(
        "tracking_tags",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "owner", "key", name="pk_tracking_tags"),
    )
    op.create_table(
        "tracking_params",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_tracking_params"),
    )
    op.create_table(
        "tracked_metrics",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("dataset_name", sa.String(), nullable=False),
        sa.Column("dataset_digest", sa.String(), nullable=False),
        _of_run("tracked_metrics"),
        sa.PrimaryKeyConstraint("run", "key", "step", "at_ms", "value", "is_nan", "model", name="pk_tracked_metrics"),
    )
    op.create_index("ix_tracked_metrics_model", "tracked_metrics", ["model"])
    op.create_table(
        "latest_metrics",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_latest_metrics"),
    )
    op.create_table(
        "tracked_datasets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("source_type", sa.String(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema_text", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name="fk_tracked_datasets_experiment_experiments"),
        sa.PrimaryKeyConstraint("id", name="pk_tracked_datasets"),
    )
    op.create_table(
        "run_inputs",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("context", sa.String(), nullable=False),
        _of_run("run_inputs"),
        sa.PrimaryKeyConstraint("run", "kind", "target", name="pk_run_inputs"),
    )
    op.create_index("ix_run_inputs_target", "run_inputs", ["target"])


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["run"], ["tracked_runs.id"], name=f"fk_{table}_run_tracked_runs", ondelete="CASCADE"
    )


def _logged_models() -> None:
    op.create_table(
        "logged_models",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("artifact_uri", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("model_type", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("lifecycle", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name="fk_logged_models_experiment_experiments"),
        sa.PrimaryKeyConstraint("id", name="pk_logged_models"),
    )
    op.create_index("ix_logged_models_experiment", "logged_models", ["experiment"])
    op.create_index("ix_logged_models_run", "logged_models", ["run"])


def _files() -> None:
    op.create_table(
        "tracked_files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_tracked_files"),
    )
    op.create_index("ix_tracked_files_sha256", "tracked_files", ["sha256"])
    op.create_table(
        "parted_uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_parted_uploads"),
    )
    op.create_table(
        "uploaded_parts",
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload"], ["parted_uploads.id"], name="fk_uploaded_parts_upload_parted_uploads", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload", "number", name="pk_uploaded_parts"),
    )
    op.create_index("ix_uploaded_parts_sha256", "uploaded_parts", ["sha256"])


def _registered() -> None:
    op.create_table(
        "tracked_models",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_tracked_models_model_models"),
        sa.PrimaryKeyConstraint("model", name="pk_tracked_models"),
        sa.UniqueConstraint("name", name="uq_tracked_models_name"),
    )
    op.create_table(
        "tracked_versions",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_served", sa.Boolean(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        *(
            sa.Column(name, sa.Text() if is_long else sa.String(), nullable=False)
            for name, is_long in (
                ("reason", True),
                ("source", True),
                ("artifact_uri", True),
                ("run", False),
                ("run_link", True),
                ("logged_model", False),
                ("description", True),
            )
        ),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_tracked_versions_model_models"),
        sa.PrimaryKeyConstraint("model", "number", name="pk_tracked_versions"),
    )


def _of_what_is_there(now_ms: int) -> None:
    """Have clients see models and versions that were registered before."""
    connection = op.get_bind()
    models, versions = (sa.Table(name, sa.MetaData(), autoload_with=connection) for name in ("models", "versions"))
    tracked = sa.Table("tracked_models", sa.MetaData(), autoload_with=connection)
    for (name,) in connection.execute(sa.select(models.c.name)).all():
        times = {"created_ms": now_ms, "updated_ms": now_ms}
        connection.execute(sa.insert(tracked).values(model=name, name=name, is_hidden=False, **times))
    tracked = sa.Table("tracked_versions", sa.MetaData(), autoload_with=connection)
    wanted = sa.select(versions.c.model, versions.c.number, versions.c.created_by, versions.c.created_at)
    texts = dict.fromkeys(("reason", "source", "artifact_uri", "run", "run_link", "logged_model", "description"), "")
    for model, number, by, at in connection.execute(wanted).all():
        at_ms = int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
        row = {"model": model, "number": number, "created_by": by, "created_ms": at_ms, "updated_ms": at_ms}
        more = {"is_served": True, "is_hidden": False, "stage": "none"}
        connection.execute(sa.insert(tracked).values(**row, **more, **texts))


def downgrade() -> None:
    for table in (
        "tracked_versions",
        "tracked_models",
        "uploaded_parts",
        "parted_uploads",
        "tracked_files",
        "logged_models",
        "run_inputs",
        "tracked_datasets",
        "latest_metrics",
        "tracked_metrics",
        "tracking_params",
        "tracking_tags",
        "tracked_runs",
        "experiments",
    ):
        op.drop_table(table)
