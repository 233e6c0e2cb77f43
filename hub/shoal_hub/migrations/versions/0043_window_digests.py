"""By what a window is known if it comes again, what its counts leave out, and how long what devices say counts."""

import hashlib
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

_LATEST = 20_000
"""Windows that are given a digest: one of an hour ago may come again, one of last week hardly."""
_PART = 500


def upgrade() -> None:
    op.add_column("windows", sa.Column("digest", sa.String(), nullable=True))
    op.add_column("windows", sa.Column("unsketched", sa.Integer(), nullable=False, server_default="0"))
    _add_heard_at()
    op.create_table(
        "quarantine_tallies",
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("untold", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_quarantine_tallies_device_id_devices")),
        sa.PrimaryKeyConstraint("device_id", "reason", name=op.f("pk_quarantine_tallies")),
    )
    with op.batch_alter_table("quarantine_tallies") as batch_op:
        batch_op.create_index("ix_quarantine_tallies_told", ["told_at"], unique=False)
    _give_digests(op.get_bind())
    with op.batch_alter_table("windows") as batch_op:
        batch_op.create_index("ix_windows_digest", ["digest"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("windows") as batch_op:
        batch_op.drop_index("ix_windows_digest")
    op.drop_table("quarantine_tallies")
    op.drop_column("drift_evidence", "heard_at")
    op.drop_column("windows", "unsketched")
    op.drop_column("windows", "digest")


def _add_heard_at() -> None:
    """What devices have said until now counts as heard now: nobody noted when it was."""
    op.add_column("drift_evidence", sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True))
    rows = sa.table("drift_evidence", sa.column("heard_at", sa.DateTime(timezone=True)))
    op.execute(sa.update(rows).values(heard_at=datetime.now(UTC)))
    with op.batch_alter_table("drift_evidence") as batch_op:
        batch_op.alter_column("heard_at", existing_type=sa.DateTime(timezone=True), nullable=False)


def _give_digests(connection: sa.Connection) -> None:
    windows = sa.table(
        "windows",
        *(sa.column(name) for name in ("id", "device_id", "model", "version")),
        sa.column("started_at", sa.DateTime(timezone=True)),
        *(sa.column(name) for name in ("requests", "labelled", "correct")),
        *(sa.column(name, sa.LargeBinary()) for name in ("features", "missing")),
        sa.column("digest"),
    )
    change = sa.update(windows).where(windows.c.id == sa.bindparam("of")).values(digest=sa.bindparam("is_known_by"))
    latest = list(connection.execute(sa.select(windows.c.id).order_by(windows.c.id.desc()).limit(_LATEST)).scalars())
    for start in range(0, len(latest), _PART):
        wanted = sa.select(windows).where(windows.c.id.in_(latest[start : start + _PART]))
        found = [{"of": row.id, "is_known_by": _digest_of(row)} for row in connection.execute(wanted)]
        connection.execute(change, found)


def _digest_of(row: "sa.Row[tuple[object, ...]]") -> str:
    """As `shoal_hub.monitoring.duplicates.digest_of` made it when this was written."""
    at: datetime = row.started_at
    began = (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat()
    numbers = (row.requests, row.labelled, row.correct)
    told = (row.device_id, row.model, row.version, began, *numbers, len(row.features))
    hashed = hashlib.sha256(repr(told).encode())
    for one in (row.features, row.missing):
        hashed.update(one)
    return hashlib.sha256(row.device_id.encode()).hexdigest()[:8] + hashed.hexdigest()[:32]
