"""API tokens of users: made, listed, revoked, and turned into the caller that they speak for."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select, update

from shoal_hub.database import Database, utc_now
from shoal_hub.errors import InvalidInputError, NotFoundError, UnauthenticatedError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.operators.roles import ALL_SCOPES, Principal, Role, Scope, read_scopes
from shoal_hub.operators.tables import OperatorToken, User
from shoal_hub.security import hash_secret, new_secret

OPERATOR_PREFIX: Final = "shoal_"
MAX_TOKEN_DAYS: Final = 366
"""How long a token may be good at most."""
_MOST_LISTED: Final = 1000
_USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)
_UNKNOWN: Final = "the operator token is not one of this hub's, was revoked or has expired"
_REMEDY: Final = "run `shoal login` with a token of this hub; the first one is in the profile that `shoal hub up` wrote"


@dataclass(frozen=True)
class NewToken:
    """A token as it is shown once: the row without, the text with the secret."""

    row: OperatorToken
    text: str


def create_token(
    session: Session,
    owner: User,
    *,
    label: str,
    role: Role,
    scopes: Iterable[Scope],
    life: timedelta | None,
    by: Principal | None,
    now: datetime,
) -> NewToken:
    """Make a token for a user; it never may more than its maker.

    Args:
        session: An open transaction.
        owner: Whom it speaks for.
        label: What it is for.
        role: The most that it may.
        scopes: What it opens.
        life: How long it is good; None only for the hub's own.
        by: Who makes it; None for the hub itself.
        now: The time.

    Raises:
        InvalidInputError: It would open nothing, or approve in another person's name.
    """
    chosen, holders = frozenset(scopes), frozenset({owner.id})
    if by is not None:
        role, chosen, holders = Role.lesser(role, by.role), chosen & by.scopes, holders | by.holders
        if holders != {owner.id} and Scope.APPROVALS in chosen:
            raise InvalidInputError(
                f"making a token for {owner.name}: with the scope approvals, {by.name} could approve in their name",
                "leave that scope out; who shall approve makes the token at the console, under Account",
            )
    if not chosen:
        raise InvalidInputError("making a token: it would open nothing", f"choose from {', '.join(Scope)}")
    text = OPERATOR_PREFIX + new_secret()
    row = OperatorToken(
        id=new_id("op"),
        user_id=owner.id,
        label=label,
        role=role,
        scopes=sorted(chosen),
        secret_sha256=hash_secret(text),
        created_by=by.name if by else "hub",
        holders=sorted(holders),
        created_at=now,
        expires_at=now + life if life is not None else None,
    )
    session.add(row)
    if by is not None:
        message = f"API token {row.id} of {owner.name} made by {by.name}"
        record_event(session, "operator_token_created", message, subject=f"user/{owner.name}")
    return NewToken(row, text)


def create_operator_token(session: Session, name: str, role: Role = Role.ADMIN) -> str:
    """Have a user of this name, and return the text of a new token that may all that the user may, without end."""
    user = session.exec(select(User).where(User.name == name)).first()
    now = utc_now()
    if user is None:
        user = User(id=new_id("u"), name=name, role=role, created_at=now)
        session.add(user)
        session.flush()
    label = "made by the hub"
    return create_token(session, user, label=label, role=role, scopes=ALL_SCOPES, life=None, by=None, now=now).text


def list_tokens(session: Session, user_id: str | None = None) -> list[tuple[OperatorToken, User]]:
    """Return the newest 1,000 tokens with their users, newest first; of one user, if one is named by id."""
    wanted = select(OperatorToken, User).where(col(OperatorToken.user_id) == col(User.id))
    if user_id is not None:
        wanted = wanted.where(OperatorToken.user_id == user_id)
    return list(
        session.exec(wanted.order_by(col(OperatorToken.created_at).desc(), OperatorToken.id).limit(_MOST_LISTED))
    )


def revoke_token(
    session: Session, token_id: str, *, by: str, now: datetime, of_user: str | None = None
) -> tuple[OperatorToken, User]:
    """Withdraw a token, and with it every session that it opened; return it and whose it was.

    Raises:
        NotFoundError: There is no such token, or it is not of the user that `of_user` names by id.
    """
    row = session.get(OperatorToken, token_id)
    if row is None or (of_user is not None and row.user_id != of_user):
        raise NotFoundError(f"no API token {token_id}", "list them: shoal operator-tokens list")
    user = session.get_one(User, row.user_id)
    if row.revoked_at is None:
        row.revoked_at = now
        session.add(row)
        message = f"API token {row.id} of {user.name} revoked by {by}"
        record_event(session, "operator_token_revoked", message, subject=f"user/{user.name}")
    return row, user


def is_good(row: OperatorToken, user: User, now: datetime) -> bool:
    """Whether a token speaks for its user now."""
    is_over = row.expires_at is not None and now >= row.expires_at
    return row.revoked_at is None and not is_over and user.disabled_at is None


def find_token(session: Session, text: str | None, now: datetime) -> tuple[OperatorToken, User]:
    """Return the token that was shown, and its user.

    Raises:
        UnauthenticatedError: None was shown, or one that the hub does not know or no longer takes.
    """
    if text is None:
        raise UnauthenticatedError(
            "no operator token was sent", "send  Authorization: Bearer shoal_…  or run `shoal login`"
        )
    row = session.exec(select(OperatorToken).where(OperatorToken.secret_sha256 == hash_secret(text))).one_or_none()
    user = session.get(User, row.user_id) if row is not None else None
    if row is None or user is None or not is_good(row, user, now):
        raise UnauthenticatedError(_UNKNOWN, _REMEDY)
    return row, user


def identify(database: Database, text: str | None, address: str) -> Principal:
    """Return who shows a token, and note now and then that it was used.

    Raises:
        UnauthenticatedError: None was shown, or one that the hub does not know or no longer takes.
    """
    now = utc_now()
    with database.session() as session:
        row, user = find_token(session, text, now)
    if row.last_used_at is None or now - row.last_used_at >= _USE_IS_NOTED_EVERY:
        with database.transaction() as session:
            statement = update(OperatorToken).where(col(OperatorToken.id) == row.id).values(last_used_at=now)
            session.connection().execute(statement)
    return principal_of(row, user, address)


def principal_of(row: OperatorToken, user: User, address: str) -> Principal:
    """Return the caller that a token speaks for."""
    return Principal(
        id=user.id,
        name=user.name,
        role=Role.lesser(user.role, row.role),
        scopes=read_scopes(row.scopes),
        source="token",
        source_id=row.id,
        address=address,
        holders=frozenset(row.holders),
    )
