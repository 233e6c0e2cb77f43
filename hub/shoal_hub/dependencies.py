"""What routes ask FastAPI for: the hub, a session to read or to write, and the operator who calls."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Session

from shoal_hub.context import HubContext
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.security import find_operator

_bearer = HTTPBearer(auto_error=False, description="An operator's token, shoal_…")


async def hub_of(request: Request) -> HubContext:
    """Return the hub that serves this request."""
    hub: HubContext = request.app.state.hub
    return hub


Hub = Annotated[HubContext, Depends(hub_of)]


def _reading(hub: Hub) -> Iterator[Session]:
    with hub.database.session() as session:
        yield session


def _writing(hub: Hub) -> Iterator[Session]:
    with hub.database.transaction() as session:
        yield session


Reading = Annotated[Session, Depends(_reading)]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Committed before the answer is sent, so that whoever has the answer can read what it speaks of."""


def _operator(hub: Hub, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> OperatorToken:
    with hub.database.session() as session:
        return find_operator(session, credentials.credentials if credentials else None)


Operator = Annotated[OperatorToken, Depends(_operator)]
