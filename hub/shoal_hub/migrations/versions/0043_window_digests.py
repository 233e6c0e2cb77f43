"""By what a window is known if it comes again."""

import hashlib
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0039"
branch_labels = None
depends_on = None

_LATEST = 20_000
"""Windows that are given a digest: one of an hour ago may come again, one of last week hardly."""
_PART = 500


def upgrade() -> None:
    op.add_column("windows", sa.Column("digest", sa.String(), nullable=True))
    _give_digests(op.get_bind())
    with op.batch_alter_table("windows") as batch_op:
        batch_op.create_index("ix_windows_digest", ["digest"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("windows") as batch_op:
        batch_op.drop_index("ix_windows_digest")
    op.drop_column("windows", "digest")


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
