"""Pages of a list: how many, and the token with which the next one is asked for."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Select
from sqlmodel import Session

from shoal_hub.errors import InvalidInputError

MAX_RESULTS: Final = 50_000
"""Of one page, as many as MLflow's own server gives."""
_MAX_OFFSET: Final = 2**53
Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some of a list; `token` asks for the next ones, and is empty where there are none."""

    items: Sequence[Item]
    token: str


def read_page(session: Session, wanted: Select[Any], *, limit: int, token: str) -> Page[Any]:
    """Return the rows of one page of an ordered SELECT.

    Raises:
        InvalidInputError: The token is none of this hub's, or more is asked for at once than a page holds.
    """
    if not 1 <= limit <= MAX_RESULTS:
        raise InvalidInputError(
            f"reading a page: {limit} results asked for, 1 to {MAX_RESULTS} are given", "ask for so many"
        )
    offset = _offset(token)
    found = session.scalars(wanted.limit(limit + 1).offset(offset)).all()
    return Page(found[:limit], _token(offset + limit) if len(found) > limit else "")


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"at {offset}".encode()).decode()


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        offset = int(number) if word == "at" else -1
    except (binascii.Error, ValueError):
        offset = -1
    if not 0 <= offset < _MAX_OFFSET:
        raise InvalidInputError(
            f"reading a page: {token[:80]!r} is no page token", "send the one of the last answer, or none"
        )
    return offset
