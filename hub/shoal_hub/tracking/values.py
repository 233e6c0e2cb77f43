"""What a run logs: parameters, which are said once, and metrics, which have a history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import Session, col, select

from shoal_hub.database import is_among
from shoal_hub.errors import InvalidInputError
from shoal_hub.tracking.pages import Page, read_page
from shoal_hub.tracking.tables import NO_MODEL, LatestMetric, TrackedMetric, TrackingParam
from shoal_hub.tracking.upsert import add_new, put_newest

MAX_KEY: Final = 250
MAX_PARAM: Final = 6000
_MAX_INTEGER: Final = 2**63 - 1


@dataclass(frozen=True)
class Measured:
    """One value of a metric.

    Attributes:
        key: Its name.
        value: The value; may be NaN or infinite.
        step: Of the training, as the client counts.
        at_ms: When it was measured.
        model: The logged model that it is of, if it is of one.
        dataset_name: Of the data that it was measured on.
        dataset_digest: Likewise.
    """

    key: str
    value: float
    step: int
    at_ms: int
    model: str = NO_MODEL
    dataset_name: str = ""
    dataset_digest: str = ""


def log_metrics(session: Session, run: str, metrics: Sequence[Measured]) -> None:
    """Keep values of metrics of an active run; those that are there already are left.

    Raises:
        InvalidInputError: A name is none, or a step or a time is out of what can be kept.
    """
    for one in metrics:
        _check_key("metric", one.key)
        if not (-_MAX_INTEGER <= one.step <= _MAX_INTEGER and 0 <= one.at_ms <= _MAX_INTEGER):
            raise InvalidInputError(
                f"logging {one.key}: step {one.step} at {one.at_ms} ms", "use 64-bit steps and times"
            )
    add_new(session, TrackedMetric, [{"run": run, **_columns(one)} for one in metrics])
    latest: dict[tuple[str, str], Measured] = {}
    for one in metrics:
        for owner in {run, one.model} - {NO_MODEL}:
            before = latest.get((owner, one.key))
            if before is None or _place(one) >= _place(before):
                latest[owner, one.key] = one
    rows = [{"owner": owner, **_latest(one)} for (owner, _), one in sorted(latest.items())]
    put_newest(session, LatestMetric, rows, key=("owner", "key"), is_newer=_is_newer)


def log_params(session: Session, owner: str, params: Iterable[tuple[str, str]]) -> None:
    """Keep parameters of a run or a logged model.

    Raises:
        InvalidInputError: One has another value already, or its name or value is too long.
    """
    wanted: dict[str, str] = {}
    for key, value in params:
        _check_key("param", key)
        if len(value) > MAX_PARAM:
            raise InvalidInputError(
                f"logging param {key}: {len(value)} characters, at most {MAX_PARAM} are kept", "shorten it"
            )
        if wanted.setdefault(key, value) != value:
            raise _changed(key, wanted[key], value)
    add_new(session, TrackingParam, [{"owner": owner, "key": key, "value": value} for key, value in wanted.items()])
    there = params_of(session, [owner], only=wanted)[owner]
    for key, value in wanted.items():
        if there[key] != value:
            raise _changed(key, there[key], value)


def params_of(session: Session, owners: Iterable[str], *, only: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """Return parameters by run or logged model, in the order of their names; only some of them, if named."""
    wanted = select(TrackingParam).where(is_among(col(TrackingParam.owner), owners))
    if names := list(only):
        wanted = wanted.where(is_among(col(TrackingParam.key), names))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in session.exec(wanted.order_by(col(TrackingParam.key))):
        found[row.owner][row.key] = row.value
    return found


def latest_of(session: Session, owners: Iterable[str]) -> dict[str, list[Measured]]:
    """Return the last value of each metric by run or logged model, in the order of their names."""
    wanted = select(LatestMetric).where(is_among(col(LatestMetric.owner), owners)).order_by(col(LatestMetric.key))
    found: dict[str, list[Measured]] = defaultdict(list)
    for row in session.exec(wanted):
        found[row.owner].append(Measured(row.key, _value(row), row.step, row.at_ms))
    return found


def metrics_of_models(session: Session, models: Iterable[str]) -> dict[str, list[tuple[str, Measured]]]:
    """Return what was measured of logged models, with the run that measured it, in the order of steps."""
    wanted = select(TrackedMetric).where(is_among(col(TrackedMetric.model), models), TrackedMetric.model != NO_MODEL)
    found: dict[str, list[tuple[str, Measured]]] = defaultdict(list)
    for row in session.exec(wanted.order_by(col(TrackedMetric.key), col(TrackedMetric.step), col(TrackedMetric.at_ms))):
        found[row.model].append((row.run, _measured(row)))
    return found


def history_of(session: Session, run: str, key: str, *, limit: int, token: str) -> Page[Measured]:
    """Return one page of a metric's values, in the order of steps and times."""
    metric = TrackedMetric
    wanted = select(metric).where(metric.run == run, metric.key == key)
    ordered = wanted.order_by(col(metric.step), col(metric.at_ms), col(metric.value), col(metric.model))
    page = read_page(session, ordered, limit=limit, token=token)
    return Page([_measured(row) for row in page.items], page.token)


def _columns(one: Measured) -> dict[str, Any]:
    return asdict(one) | _kept(one.value)


def _latest(one: Measured) -> dict[str, Any]:
    return {"key": one.key, "step": one.step, "at_ms": one.at_ms} | _kept(one.value)


def _kept(value: float) -> dict[str, Any]:
    return {"value": 0.0 if isnan(value) else value, "is_nan": isnan(value)}


def _measured(row: TrackedMetric) -> Measured:
    return Measured(row.key, _value(row), row.step, row.at_ms, row.model, row.dataset_name, row.dataset_digest)


def _value(row: TrackedMetric | LatestMetric) -> float:
    return float("nan") if row.is_nan else row.value


def _place(one: Measured) -> tuple[int, int, bool, float]:
    """Where a value stands among those of its metric; of one step and time, the larger is the last, as in MLflow."""
    return (one.step, one.at_ms, not isnan(one.value), one.value)


def _is_newer(new: Any, old: Any) -> ColumnElement[bool]:  # noqa: ANN401 - columns by name
    same_step, same_time = new.step == old.step, new.at_ms == old.at_ms
    is_larger = or_(old.is_nan, and_(~new.is_nan, new.value >= old.value))
    return or_(new.step > old.step, and_(same_step, new.at_ms > old.at_ms), and_(same_step, same_time, is_larger))


def _check_key(what: str, key: str) -> None:
    if not key or len(key) > MAX_KEY:
        raise InvalidInputError(
            f"logging a {what}: its name has {len(key)} characters, 1 to {MAX_KEY} are kept", "rename it"
        )


def _changed(key: str, before: str, after: str) -> InvalidInputError:
    return InvalidInputError(
        f"logging param {key}: it is {before[:100]!r} already, and {after[:100]!r} was sent; a parameter never changes",
        "log it under another name, or in another run",
    )
