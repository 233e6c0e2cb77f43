"""Routes of alerts: look at them, take care of one; rules, silences, and what is too bad for a model."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import Session, col, select

from shoal_contract.ids import Name
from shoal_hub.alerts.acknowledge import acknowledge, find_alert, find_alerts
from shoal_hub.alerts.public import (
    Acknowledge,
    AlertDetail,
    AlertPublic,
    NoticePublic,
    RulePublic,
    SilenceAsk,
    SilencePublic,
    ThresholdsAsk,
    ThresholdsPublic,
    alerts_public,
    rule_public,
)
from shoal_hub.alerts.rules import BUILT_IN, AlertRule, find_rule, put_rule, remove_rule, rules_of
from shoal_hub.alerts.silences import add_silence, end_silence
from shoal_hub.alerts.tables import AlertDelivery, AlertNotice, AlertRuleRow, AlertSeverity, AlertSilence, AlertState
from shoal_hub.alerts.thresholds import set_thresholds, thresholds_of
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.registry.tables import Model
from shoal_hub.requests import Line

router = APIRouter(prefix="/alerts", tags=["alerts"])
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
_OPEN: tuple[AlertState, ...] = ("pending", "firing")


@router.get("", responses=documented(401, 403, 422))
def list_alerts(
    session: Reading,
    _viewer: Viewer,
    state: Annotated[list[AlertState] | None, Query(max_length=3)] = None,
    rule: Line | None = None,
    severity: AlertSeverity | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[AlertPublic]:
    """List alerts, those that began last first; without a state, those that are not over."""
    rows = find_alerts(session, state or _OPEN, rule=rule, severity=severity, limit=limit, offset=offset)
    return alerts_public(session, rows, utc_now())


@router.get("/rules", responses=documented(401, 403))
def list_rules(session: Reading, _viewer: Viewer) -> list[RulePublic]:
    """List rules by name, the hub's own ones among them."""
    rows = {row.name: row for row in session.exec(select(AlertRuleRow))}
    found = rules_of(session)
    return [rule_public(name, rule, rows.get(name), is_built_in=name in BUILT_IN) for name, rule in found.items()]


@router.get("/rules/{name}", responses=documented(401, 403, 404, 422))
def read_rule(name: Line, session: Reading, _viewer: Viewer) -> RulePublic:
    """Return a rule."""
    return _rule(session, name)


@router.put("/rules/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_rule(name: Name, body: AlertRule, session: Writing, operator: DeviceOperator) -> RulePublic:
    """Set a rule, in place of an earlier one of its name, or of one of the hub's own."""
    put_rule(session, name, body, by=operator.name, now=utc_now())
    session.flush()
    return _rule(session, name)


@router.delete("/rules/{name}", responses=documented(401, 403, 404, 409, 422))
def delete_rule(name: Line, session: Writing, _operator: DeviceOperator) -> RulePublic:
    """Forget a rule; its alerts end. One of the hub's own is as it was at first. Return what was forgotten."""
    shown = _rule(session, name)
    remove_rule(session, name)
    return shown


@router.get("/silences", responses=documented(401, 403, 422))
def list_silences(
    session: Reading, _viewer: Viewer, is_over: bool = False, limit: Limit = 100, offset: Offset = 0
) -> list[SilencePublic]:
    """List silences that are at work or to come, or those that are over, the latest first."""
    now = utc_now()
    wanted = select(AlertSilence).where(
        col(AlertSilence.ends_at) <= now if is_over else col(AlertSilence.ends_at) > now
    )
    ordered = wanted.order_by(col(AlertSilence.created_at).desc(), col(AlertSilence.id))
    return [_silence(row) for row in session.exec(ordered.limit(limit).offset(offset))]


@router.post("/silences", status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def create_silence(body: SilenceAsk, session: Writing, operator: DeviceOperator) -> SilencePublic:
    """Have alerts with such labels told to nobody for a time."""
    now = utc_now()
    row = add_silence(
        session, body.matchers, body.starts_at or now, body.ends_at, body.reason, by=operator.name, now=now
    )
    return _silence(row)


@router.delete("/silences/{silence_id}", responses=documented(401, 403, 404, 409, 422))
def delete_silence(silence_id: Line, session: Writing, operator: DeviceOperator) -> SilencePublic:
    """End a silence before its time."""
    return _silence(end_silence(session, silence_id, by=operator.name, now=utc_now()))


@router.get("/thresholds/{model}", responses=documented(401, 403, 404, 422))
def read_thresholds(model: Line, session: Reading, _viewer: Viewer) -> ThresholdsPublic:
    """Return what is too bad for a model, by metric."""
    if session.get(Model, model) is None:
        raise NotFoundError(f"there is no model {model}", "list them: shoal models list")
    return ThresholdsPublic(model=model, thresholds=thresholds_of(session, model))


@router.put("/thresholds/{model}", responses=documented(400, 401, 403, 404, 413, 422))
def put_thresholds(model: Name, body: ThresholdsAsk, session: Writing, operator: ModelOperator) -> ThresholdsPublic:
    """Say what is too bad for a model; a metric that is left out goes by its own threshold again."""
    found = set_thresholds(session, model, body.thresholds, by=operator.name, now=utc_now())
    return ThresholdsPublic(model=model, thresholds=found)


@router.get("/{alert_id}", responses=documented(401, 403, 404, 422))
def read_alert(alert_id: Line, session: Reading, _viewer: Viewer) -> AlertDetail:
    """Return an alert, and who was told of it."""
    return _detail(session, alert_id)


@router.post("/{alert_id}/acknowledgement", responses=documented(400, 401, 403, 404, 409, 413, 422))
def acknowledge_alert(alert_id: Line, body: Acknowledge, session: Writing, operator: DeviceOperator) -> AlertDetail:
    """Say that one looks after an alert: it is not repeated any more. Its end is told all the same."""
    acknowledge(session, alert_id, body.note, by=operator.name, now=utc_now())
    session.flush()
    return _detail(session, alert_id)


def _rule(session: Session, name: str) -> RulePublic:
    rule, row = find_rule(session, name)
    return rule_public(name, rule, row, is_built_in=name in BUILT_IN)


def _silence(row: AlertSilence) -> SilencePublic:
    return SilencePublic.model_validate(row, from_attributes=True)


def _detail(session: Session, alert_id: str) -> AlertDetail:
    [shown] = alerts_public(session, [find_alert(session, alert_id)], utc_now())
    rows = session.exec(
        select(AlertNotice, AlertDelivery)
        .join(AlertDelivery, col(AlertDelivery.id) == col(AlertNotice.delivery_id), isouter=True)
        .where(AlertNotice.alert_id == alert_id)
        .order_by(col(AlertNotice.id))
    )
    return AlertDetail(**shown.model_dump(), notices=[_notice(notice, delivery) for notice, delivery in rows])


def _notice(notice: AlertNotice, delivery: AlertDelivery | None) -> NoticePublic:
    return NoticePublic(
        channel=notice.channel,
        transition=notice.transition,
        number=notice.number,
        created_at=notice.created_at,
        delivery_id=notice.delivery_id,
        state=delivery.state if delivery else None,
        attempts=delivery.attempts if delivery else 0,
        problem=delivery.problem if delivery else "",
    )
