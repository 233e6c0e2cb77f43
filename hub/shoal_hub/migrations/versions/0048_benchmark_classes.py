"""Boards may be of several target classes; a compression run keeps for whom its files are, and the source's answers."""

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

BENCHMARKS = sa.table("benchmarks", sa.column("id", sa.String()), sa.column("classes", sa.JSON()))
DEVICES = sa.table(
    "benchmark_devices",
    sa.column("benchmark", sa.String()),
    sa.column("hardware", sa.String()),
    sa.column("target_class", sa.String()),
)


def upgrade() -> None:
    op.add_column("benchmark_devices", sa.Column("target_class", sa.String(), nullable=False, server_default=""))
    op.add_column("compression_runs", sa.Column("here", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(
        "compression_results", sa.Column("targets", sa.JSON(), nullable=False, server_default=sa.text("'[]'"))
    )
    connection = op.get_bind()
    for benchmark, classes in connection.execute(sa.select(BENCHMARKS)).all():
        for hardware, name in classes.items():
            place = sa.and_(DEVICES.c.benchmark == benchmark, DEVICES.c.hardware == hardware)
            connection.execute(sa.update(DEVICES).where(place).values(target_class=name))
        pairs = {hardware: [name] for hardware, name in classes.items()}
        connection.execute(sa.update(BENCHMARKS).where(BENCHMARKS.c.id == benchmark).values(classes=pairs))


def downgrade() -> None:
    connection = op.get_bind()
    for benchmark, classes in connection.execute(sa.select(BENCHMARKS)).all():
        first = {hardware: names[0] for hardware, names in classes.items()}
        connection.execute(sa.update(BENCHMARKS).where(BENCHMARKS.c.id == benchmark).values(classes=first))
    op.drop_column("compression_results", "targets")
    op.drop_column("compression_runs", "here")
    op.drop_column("benchmark_devices", "target_class")
