"""What routes ask FastAPI for: the hub, a session to read or to write, and the operator who calls."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Session

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.requests import ALWAYS
from shoal_hub.context import HubContext
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.security import find_operator

_bearer = HTTPBearer(auto_error=False, description="An operator's token, shoal_…")


async def hub_of(request: Request) -> HubContext:
    """Return the hub that serves this request."""
    hub: HubContext = request.app.state.hub
    return hub


def address_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client else "unknown"


Hub = Annotated[HubContext, Depends(hub_of)]


def _reading(hub: Hub) -> Iterator[Session]:
    with hub.database.session() as session:
        yield session


def _writing(hub: Hub) -> Iterator[Session]:
    with hub.database.transaction() as session:
        session.info[ALWAYS] = True
        yield session


Reading = Annotated[Session, Depends(_reading)]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Committed before the answer is sent, so that whoever has the answer can read what it speaks of."""


def _operator(
    request: Request, hub: Hub, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> OperatorToken:
    with hub.database.session() as session:
        operator = find_operator(session, credentials.credentials if credentials else None)
    request.state.actor = Actor(operator.id, operator.name, "admin", address_of(request))
    return operator


Operator = Annotated[OperatorToken, Depends(_operator)]
