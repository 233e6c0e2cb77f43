"""The route of performance: how right a model is, by the truth that came back and by an estimate without."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from sqlmodel import Session

from shoal_hub.alerts.thresholds import thresholds_of
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Reading, Viewer
from shoal_hub.devices.groups import find_group, member_ids
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.performance.public import PerformancePublic
from shoal_hub.performance.reading import By, Question
from shoal_hub.performance.rows import RowMaker
from shoal_hub.registry.tables import Model
from shoal_hub.requests import Line, RowNumber
from shoal_numerics.classification import Average

router = APIRouter(prefix="/performance", tags=["monitoring"])

_DAY: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=400)
_STRETCHES: Final = 48
"""Of a time, where nobody says how long one is."""
_LEAST_STEP_S: Final = 60
_MOST_STRETCHES: Final = 1000


@router.get("", responses=documented(401, 403, 404, 422))
def read_performance(
    session: Reading,
    _viewer: Viewer,
    model: Line,
    by: By = "model",
    version: RowNumber | None = None,
    device: Line | None = None,
    group: Annotated[Line | None, Query(description="Devices that are in this group now.")] = None,
    slice_name: Annotated[Line | None, Query(alias="slice")] = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    step_s: Annotated[int | None, Query(ge=_LEAST_STEP_S, le=31 * 86_400, description="Of by=window.")] = None,
    average: Average | None = None,
    detail: Annotated[bool, Query(description="With each class and the confusion matrix.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> PerformancePublic:
    """Tell how right a model is: of the last day, unless another time is asked for, by when windows ended."""
    if session.get(Model, model) is None:
        message = f"reading the performance of {model}: there is no such model"
        raise NotFoundError(message, "list them: shoal models list")
    ends_at = (until or utc_now() + timedelta(seconds=1)).astimezone(UTC)
    begins_at = (since or ends_at - _DAY).astimezone(UTC)
    question = Question(
        model=model,
        since=begins_at,
        until=ends_at,
        by=by,
        version=version,
        devices=_devices(session, device, group),
        step=_step(begins_at, ends_at, step_s),
        has_slices=by == "slice" or slice_name is not None,
    )
    thresholds = thresholds_of(session, model)
    maker = RowMaker(session, question, thresholds, average, slice_name, detail)
    rows = list(islice(maker.rows(), limit + 1))
    return PerformancePublic(
        model=model,
        since=begins_at,
        until=ends_at,
        by=by,
        step_s=question.step.total_seconds() if by == "window" else None,
        thresholds=thresholds,
        rows=rows[:limit],
        has_more=len(rows) > limit,
    )


def _devices(session: Session, device: str | None, group: str | None) -> frozenset[str] | None:
    """Return which devices are meant; None: all."""
    found = None if device is None else frozenset({device})
    if group is not None:
        members = frozenset(member_ids(session, find_group(session, group), utc_now()))
        found = members if found is None else found & members
    return found


def _step(since: datetime, until: datetime, step_s: int | None) -> timedelta:
    """Return how long a stretch is.

    Raises:
        InvalidInputError: The time ends before it begins, is too long, or has too many stretches.
    """
    whole = until - since
    if not timedelta(0) < whole <= _LONGEST:
        message = f"reading performance: from {since.isoformat()} to {until.isoformat()} is no time of 1 s to 400 days"
        raise InvalidInputError(message, "give since before until")
    step = timedelta(seconds=step_s or max(_LEAST_STEP_S, whole.total_seconds() / _STRETCHES))
    if whole / step > _MOST_STRETCHES:
        message = f"reading performance: {whole} has over {_MOST_STRETCHES} stretches of {step.total_seconds():g} s"
        raise InvalidInputError(message, "give a larger step_s, or a shorter time")
    return step
