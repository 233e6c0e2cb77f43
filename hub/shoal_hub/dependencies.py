"""What routes ask FastAPI for: the hub, a session to read or to write, and the caller with the right that it needs.

Each route of the API names its need once, by the type of its caller: `Viewer` where it reads, one of the others where
it changes something. A caller without the role, or with a token that is for something else, gets 403.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Session

from shoal_hub.audit.requests import ALWAYS
from shoal_hub.context import HubContext
from shoal_hub.errors import RefusedError
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.operators.tokens import identify

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


@contextmanager
def audited(hub: HubContext) -> Iterator[Session]:
    """Open a transaction that leaves an entry whatever it does, for routes that go on when it is committed."""
    with hub.database.transaction() as session:
        session.info[ALWAYS] = True
        yield session


def _writing(hub: Hub) -> Iterator[Session]:
    with audited(hub) as session:
        yield session


Reading = Annotated[Session, Depends(_reading)]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Committed before the answer is sent, so that whoever has the answer can read what it speaks of."""


def _caller(
    request: Request, hub: Hub, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    text = credentials.credentials if credentials else None
    principal = identify(hub.database, text, address_of(request))
    request.state.actor = principal
    return principal


Caller = Annotated[Principal, Depends(_caller)]
"""Whoever shows a good token, whatever it is for."""


def check_right(principal: Principal, role: Role, scope: Scope) -> None:
    """Let pass who has this role, by something that has this scope.

    Raises:
        RefusedError: The caller may not do this.
    """
    if not principal.role.includes(role):
        raise RefusedError(
            f"this needs the role {role}; {principal.name} is {principal.role} here",
            "ask an admin: shoal users set-role, or use a token of a higher role",
        )
    if not principal.may(role, scope):
        raise RefusedError(f"this token has no scope {scope}", "use a token that has it: shoal operator-tokens list")


def need(role: Role, scope: Scope) -> Callable[[Principal], Principal]:
    """Return the dependency that lets pass who has this role, by a token with this scope."""

    def check(caller: Caller) -> Principal:
        check_right(caller, role, scope)
        return caller

    return check


async def check_uploader(request: Request, hub: HubContext) -> None:
    """Let pass who may register models, before anything of what they send is read.

    Raises:
        UnauthenticatedError: No good token was shown.
        RefusedError: The caller may not register models.
    """
    caller = await run_in_threadpool(_caller, request, hub, await _bearer(request))
    check_right(caller, Role.OPERATOR, Scope.MODELS)


Viewer = Annotated[Principal, Depends(need(Role.VIEWER, Scope.READ))]
DeviceOperator = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.DEVICES))]
EnrolOperator = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.ENROL))]
ModelOperator = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.MODELS))]
RolloutOperator = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.ROLLOUTS))]
ApprovalAuthor = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.APPROVALS))]
Approver = Annotated[Principal, Depends(need(Role.APPROVER, Scope.APPROVALS))]
Admin = Annotated[Principal, Depends(need(Role.ADMIN, Scope.ADMIN))]
