"""Calls about aliases of registered models: pointed, followed, taken away."""

import re
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import Field

from shoal_hub.database import announce
from shoal_hub.dependencies import Reading, Writing
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.registry_answers import shown_versions
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json
from shoal_hub.registry.tables import Alias
from shoal_hub.registry.tracked import find_tracked_model, find_tracked_version
from shoal_hub.registry.versions import RESERVED_REFS, set_alias
from shoal_hub.requests import Text

router = APIRouter(prefix="/registered-models/alias", route_class=MlflowRoute, include_in_schema=False)

_ALIAS: Final = re.compile(r"[\w-]{1,255}")
_NUMBER: Final = re.compile(r"v?\d+", re.IGNORECASE)


class AliasName(Body):
    """Which alias."""

    name: Text
    alias: Annotated[Text, Field(max_length=255)]


class PointAlias(AliasName):
    """At which version."""

    version: Id


@router.post("")
def set_registered_model_alias(body: PointAlias, session: Writing, _writer: Writer) -> Json:
    """Point an alias at a version."""
    if not _ALIAS.fullmatch(body.alias) or body.alias.lower() in RESERVED_REFS or _NUMBER.fullmatch(body.alias):
        raise InvalidInputError(
            f"{body.alias[:80]!r} cannot be an alias",
            "use letters, digits, _ and -; no number, no stage and not latest",
        )
    row = find_tracked_version(session, body.name, body.version)
    set_alias(session, row.model, body.alias, row.number)
    announce(session, "models")
    return EMPTY


@router.get("")
def get_model_version_by_alias(name: Text, alias: Text, session: Reading, _reader: Reader) -> Json:
    """Return the version that an alias points at."""
    row = session.get(Alias, (find_tracked_model(session, name).model, alias))
    if row is None:
        raise NotFoundError(
            f"the model {name[:80]!r} has no alias {alias[:80]!r}", "set it, or look at the model's aliases"
        )
    version = find_tracked_version(session, name, str(row.number))
    return {"model_version": shown_versions(session, [version])[0]}


@router.delete("")
def delete_registered_model_alias(body: AliasName, session: Writing, _writer: Writer) -> Json:
    """Take an alias away; one that is not there is left at that."""
    row = session.get(Alias, (find_tracked_model(session, body.name).model, body.alias))
    if row is not None:
        session.delete(row)
        announce(session, "models")
    return EMPTY
