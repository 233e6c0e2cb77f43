"""Who may have had a token in hands, and so may be who asked with it: none of them counts among those who approve."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_users = sa.table("users", sa.column("id"), sa.column("name"))
_tokens = sa.table(
    "operator_tokens", sa.column("id"), sa.column("user_id"), sa.column("created_by"), sa.column("holders", sa.JSON)
)
_requests = sa.table(
    "approval_requests",
    sa.column("id"),
    sa.column("author_id"),
    sa.column("asked_by_token_of"),
    sa.column("asked_by", sa.JSON),
)


def upgrade() -> None:
    for table, column in (("operator_tokens", "holders"), ("approval_requests", "asked_by")):
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column(column, sa.JSON(), nullable=False, server_default="[]"))
    _fill(_tokens, _tokens.c.holders, _tokens.c.user_id, _tokens.c.created_by)
    _fill(_requests, _requests.c.asked_by, _requests.c.author_id, _requests.c.asked_by_token_of)
    with op.batch_alter_table("approval_requests") as batch_op:
        batch_op.drop_column("asked_by_token_of")


def downgrade() -> None:
    with op.batch_alter_table("approval_requests") as batch_op:
        batch_op.add_column(sa.Column("asked_by_token_of", sa.String(), nullable=False, server_default=""))
        batch_op.drop_column("asked_by")
    with op.batch_alter_table("operator_tokens") as batch_op:
        batch_op.drop_column("holders")


def _fill(
    table: sa.TableClause, column: sa.ColumnClause[list[str]], owner: sa.ColumnClause[str], maker: sa.ColumnClause[str]
) -> None:
    """Note whose a row is and, by name so far, who made the token."""
    connection = op.get_bind()
    ids = {name: user_id for user_id, name in connection.execute(sa.select(_users.c.id, _users.c.name))}
    for row_id, owner_id, name in connection.execute(sa.select(table.c.id, owner, maker)).all():
        people = sorted({owner_id, ids.get(name, owner_id)})
        connection.execute(sa.update(table).where(table.c.id == row_id).values({column.name: people}))
