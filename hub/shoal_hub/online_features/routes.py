"""Routes of online features: views, their values as rows come in, and what readers are shown of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, WrapValidator
from sqlmodel import select

from shoal_contract.feature_views import FeatureView
from shoal_contract.features import MAX_ENTITY_CHARS
from shoal_contract.ids import Name
from shoal_contract.wire import UtcTime
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Hub, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError
from shoal_hub.online_features.changes import define_view, forget_view, write_rows
from shoal_hub.online_features.online import find_view
from shoal_hub.online_features.store import OnlineRow
from shoal_hub.online_features.tables import OnlineView
from shoal_hub.online_features.values import NS, OnlineValue, Scalar
from shoal_hub.requests import Line
from shoal_hub.strict_body import strictly

router = APIRouter(prefix="/online-features", tags=["online features"])
MAX_ROWS = 10_000
MAX_READ = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Body = Annotated[FeatureView, WrapValidator(strictly)]
Entity = Annotated[str, Field(min_length=1, max_length=MAX_ENTITY_CHARS, pattern=r"^[^\x00]+$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Given = bool | int | Number | Annotated[str, Field(max_length=1024)] | None


class OnlineViewPublic(BaseModel):
    """A view and its features."""

    name: str
    view: FeatureView
    set_by: str
    set_at: datetime


class GivenRow(BaseModel):
    """Values of an entity; they take the place of all that it has in the view, unless those are of a later time."""

    model_config = ConfigDict(extra="forbid")

    entity: Entity
    at: Annotated[UtcTime, Field(ge=_EPOCH)]
    """The time that they are of."""
    values: dict[Name, Given] = Field(max_length=1024)


class GivenRows(BaseModel):
    """Rows of a view."""

    model_config = ConfigDict(extra="forbid")

    rows: list[GivenRow] = Field(min_length=1, max_length=MAX_ROWS)


class Written(BaseModel):
    """What became of rows: those that are not kept are older than what was held."""

    rows: int
    kept: int


class OnlineValuePublic(BaseModel):
    """A feature as it is now."""

    value: Given
    """The latest one, or its fallback."""
    at: datetime | None
    """The time that the latest one is of."""
    age_s: float | None
    is_fresh: bool
    is_fallback: bool


class EntityPublic(BaseModel):
    """An entity's features."""

    entity: str
    is_known: bool
    features: dict[str, OnlineValuePublic]


@router.get("", responses=documented(401, 403))
def list_views(session: Reading, _viewer: Viewer) -> list[OnlineViewPublic]:
    """List views of online features by name."""
    return [_public(one) for one in session.exec(select(OnlineView).order_by(OnlineView.name))]


@router.put("/{view}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_view(view: Name, body: Body, session: Writing, operator: DeviceOperator, hub: Hub) -> OnlineViewPublic:
    """Make a view, or change its features; a feature that says nothing is a day good, and has no fallback."""
    found = _public(define_view(session, view, body, by=operator.name, now=utc_now()))
    hub.online_features.changed(view)
    return found


@router.get("/{view}", responses=documented(401, 403, 404, 422))
def read_view(view: Line, session: Reading, _viewer: Viewer) -> OnlineViewPublic:
    """Return a view."""
    return _public(find_view(session, view))


@router.delete("/{view}", responses=documented(401, 403, 404, 422, 503))
def remove_view(view: Line, session: Writing, operator: DeviceOperator, hub: Hub) -> OnlineViewPublic:
    """Forget a view with all its values; return what it was."""
    found = _public(forget_view(session, hub.online_features, view, by=operator.name))
    hub.online_features.changed(view)
    return found


@router.put("/{view}/values", responses=documented(400, 401, 403, 404, 413, 422, 503))
def write_values(view: Line, body: GivenRows, session: Writing, _operator: DeviceOperator, hub: Hub) -> Written:
    """Keep the latest values of entities; a row that is older than what is held changes nothing."""
    rows = [OnlineRow(one.entity, _ns(one.at), dict(one.values)) for one in body.rows]
    return Written(rows=len(rows), kept=write_rows(session, hub.online_features, view, rows))


@router.get("/{view}/values", responses=documented(401, 403, 404, 422, 503))
def read_values(
    view: Line,
    hub: Hub,
    _viewer: Viewer,
    entity: Annotated[list[Entity], Query(min_length=1, max_length=MAX_READ)],
    feature: Annotated[list[Line] | None, Query(max_length=256)] = None,
) -> list[EntityPublic]:
    """Return the features of entities as they are now, all of a view or some; stale ones have their fallback."""
    features = hub.online_features.view(view).features
    unknown = sorted(set(feature or ()) - features.keys())
    if unknown:
        raise InvalidInputError(
            f"reading view {view}: there is no feature {', '.join(unknown)[:200]}",
            f"ask for some of {', '.join(sorted(features))[:500]}",
        )
    found = hub.online_features.read(view, entity, feature)
    return [_entity(name, values) for name, values in zip(entity, found, strict=True)]


def _public(row: OnlineView) -> OnlineViewPublic:
    return OnlineViewPublic(
        name=row.name, view=FeatureView.model_validate(row.body), set_by=row.set_by, set_at=row.set_at
    )


def _entity(name: str, values: Mapping[str, OnlineValue]) -> EntityPublic:
    shown = {feature: _value(one) for feature, one in values.items()}
    return EntityPublic(entity=name, is_known=any(one.at_ns is not None for one in values.values()), features=shown)


def _value(one: OnlineValue) -> OnlineValuePublic:
    value: Scalar = one.value
    at = None if one.at_ns is None else datetime.fromtimestamp(one.at_ns / NS, UTC)
    return OnlineValuePublic(value=value, at=at, age_s=one.age_s, is_fresh=one.is_fresh, is_fallback=one.is_fallback)


def _ns(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1000
