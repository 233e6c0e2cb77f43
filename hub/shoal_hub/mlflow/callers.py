"""Who calls MLflow's API: an operator's token, as Bearer or as the password of Basic authentication.

The client sends `MLFLOW_TRACKING_TOKEN` as the first, and `MLFLOW_TRACKING_USERNAME` and `_PASSWORD` as the second. The
name is not looked at: the token says whose it is.
"""

import base64
import binascii
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from shoal_hub.dependencies import Hub, address_of, check_right
from shoal_hub.errors import UnauthenticatedError
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.operators.tokens import identify

_REMEDY: Final = "set MLFLOW_TRACKING_TOKEN to an operator's token of this hub: shoal operator-tokens create"


async def _caller(request: Request, hub: Hub) -> Principal:
    """Return who shows a good token; asked for before the body is read, in a thread for the database."""
    principal = await run_in_threadpool(identify, hub.database, _token(request), address_of(request))
    request.state.actor = principal
    return principal


Caller = Annotated[Principal, Depends(_caller)]


def _viewer(caller: Caller) -> Principal:
    check_right(caller, Role.VIEWER, Scope.READ)
    return caller


def _writer(caller: Caller) -> Principal:
    check_right(caller, Role.OPERATOR, Scope.MODELS)
    return caller


Reader = Annotated[Principal, Depends(_viewer)]
"""Who may look at models and runs."""
Writer = Annotated[Principal, Depends(_writer)]
"""Who may register models, and so may log what leads to them."""


def _token(request: Request) -> str:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise UnauthenticatedError("the header Authorization cannot be read as Basic", _REMEDY) from error
        if colon and password:
            return password
        raise UnauthenticatedError(f"no token was sent as the password of {name[:64]!r}", _REMEDY)
    raise UnauthenticatedError("no operator token was sent", _REMEDY)
