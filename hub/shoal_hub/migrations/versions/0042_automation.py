"""Automation: policies, what looks at them came to, runs and their steps; labels in shadow; inputs that are known."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

_IS_OPEN = sa.text("state IN ('running', 'waiting')")


def _time(name: str, *, is_nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=is_nullable)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=False)


def _number(name: str, *, is_nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=is_nullable)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _model(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f(f"fk_{table}_model_models"))


def _policies() -> None:
    op.create_table(
        "automation_policies",
        _text("name"),
        _text("model"),
        _number("revision"),
        _json("body"),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        _text("set_by"),
        _text("set_by_id"),
        _json("holders"),
        _time("set_at"),
        _time("since"),
        _model("automation_policies"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_automation_policies")),
    )
    op.create_index(op.f("ix_automation_policies_model"), "automation_policies", ["model"])
    op.create_table(
        "automation_revisions",
        _text("name"),
        _number("revision"),
        _json("body"),
        _text("set_by"),
        _time("set_at"),
        sa.PrimaryKeyConstraint("name", "revision", name=op.f("pk_automation_revisions")),
    )
    op.create_table(
        "automation_decisions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _text("policy"),
        _number("revision"),
        _time("at"),
        _time("last_at"),
        _text("outcome"),
        _text("mark"),
        _json("decision"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automation_decisions")),
    )
    op.create_index("ix_automation_decisions_policy", "automation_decisions", ["policy", "id"])


def _runs() -> None:
    op.create_table(
        "automation_runs",
        _text("id"),
        _text("policy"),
        _number("revision"),
        _text("model"),
        _text("state"),
        _json("trigger"),
        _number("champion", is_nullable=True),
        _number("candidate", is_nullable=True),
        _text("reason"),
        _time("created_at"),
        _time("ended_at", is_nullable=True),
        _model("automation_runs"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automation_runs")),
    )
    op.create_index(
        "ix_automation_runs_open",
        "automation_runs",
        ["policy"],
        unique=True,
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_index("ix_automation_runs_policy", "automation_runs", ["policy", "created_at"])
    op.create_index(op.f("ix_automation_runs_model"), "automation_runs", ["model"])
    op.create_index(op.f("ix_automation_runs_state"), "automation_runs", ["state"])


def _steps() -> None:
    run = sa.ForeignKeyConstraint(
        ["run_id"], ["automation_runs.id"], name=op.f("fk_automation_steps_run_id_automation_runs")
    )
    op.create_table(
        "automation_steps",
        _text("run_id"),
        _number("position"),
        _text("kind"),
        _json("body"),
        _text("state"),
        _number("attempt"),
        _text("why"),
        _json("links"),
        _json("result"),
        _text("content_sha256"),
        _time("waiting_since", is_nullable=True),
        _time("begun_at", is_nullable=True),
        _time("ended_at", is_nullable=True),
        run,
        sa.PrimaryKeyConstraint("run_id", "position", name=op.f("pk_automation_steps")),
    )
    op.create_table(
        "automation_approvals",
        _text("run_id"),
        _number("position"),
        _number("attempt"),
        _text("user_id"),
        _text("name"),
        _text("comment"),
        _text("content_sha256"),
        _time("at"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["automation_runs.id"], name=op.f("fk_automation_approvals_run_id_automation_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", "position", "attempt", "user_id", name=op.f("pk_automation_approvals")),
    )


def upgrade() -> None:
    _policies()
    _runs()
    _steps()
    op.create_table(
        "accepted_inputs",
        _text("id"),
        _text("model"),
        _number("version"),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.Column("missing", sa.LargeBinary(), nullable=False),
        _number("samples"),
        _json("devices"),
        _text("by"),
        _time("at"),
        _model("accepted_inputs"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accepted_inputs")),
    )
    op.create_index(op.f("ix_accepted_inputs_model"), "accepted_inputs", ["model"])
    for name in ("labelled", "correct", "against_correct"):
        op.add_column("shadow_windows", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("against_correct", "correct", "labelled"):
        op.drop_column("shadow_windows", name)
    for table in (
        "accepted_inputs",
        "automation_approvals",
        "automation_steps",
        "automation_runs",
        "automation_decisions",
        "automation_revisions",
        "automation_policies",
    ):
        op.drop_table(table)
