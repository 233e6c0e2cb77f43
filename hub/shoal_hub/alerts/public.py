"""What the API takes and shows of alerts, rules, silences and channels."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlmodel import Session

from shoal_hub.alerts.acknowledge import acknowledgements_of
from shoal_hub.alerts.conditions import MetricName
from shoal_hub.alerts.rules import AlertRule
from shoal_hub.alerts.silences import active_silences
from shoal_hub.alerts.tables import (
    AlertAcknowledgement,
    AlertRow,
    AlertRuleRow,
    AlertSeverity,
    AlertState,
    ChannelKind,
    DeliveryState,
    Transition,
)
from shoal_hub.alerts.targets import Target
from shoal_hub.alerts.telling import Matcher, silenced_by
from shoal_hub.requests import Line


class AcknowledgementPublic(BaseModel):
    """Who looks after an alert."""

    by: str
    note: str
    at: datetime


class AlertPublic(BaseModel):
    """An alert: of what, how it stands, and whether anybody is told."""

    id: str
    rule: str
    state: AlertState
    severity: AlertSeverity
    labels: dict[str, str]
    message: str
    value: float | None
    threshold: float | None
    pending_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    resolution: str
    acknowledgement: AcknowledgementPublic | None
    silenced_by: list[str]
    """Silences that cover it now."""


class NoticePublic(BaseModel):
    """What a channel was told of an alert, or is to be; without a delivery, it waits for others of its rule."""

    channel: str
    transition: Transition
    number: int
    created_at: datetime
    delivery_id: str | None
    state: DeliveryState | None
    attempts: int
    problem: str


class AlertDetail(AlertPublic):
    """An alert, and who was told of it."""

    notices: list[NoticePublic]


class RulePublic(BaseModel):
    """A rule; `set_by` is empty for one of the hub's own that nobody has changed."""

    name: str
    rule: AlertRule
    is_built_in: bool
    """Whether the hub has a rule of this name by itself."""
    set_by: str
    set_at: datetime | None


class Acknowledge(BaseModel):
    """A word about an alert that one looks after."""

    note: Line = ""


class SilenceAsk(BaseModel):
    """What to tell nobody, and for how long."""

    matchers: Annotated[list[Matcher], Field(min_length=1, max_length=16)]
    ends_at: AwareDatetime
    starts_at: AwareDatetime | None = None
    """Left out, now."""
    reason: Annotated[Line, Field(min_length=1)]


class SilencePublic(BaseModel):
    """A silence."""

    id: str
    matchers: list[Matcher]
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str
    created_at: datetime
    ended_by: str


class ThresholdsPublic(BaseModel):
    """What counts for a model, by metric."""

    model: str
    thresholds: dict[MetricName, float]


class ThresholdsAsk(BaseModel):
    """What is to count for a model; a metric that is left out goes by its own."""

    thresholds: dict[MetricName, Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]]


class ChannelAsk(BaseModel):
    """A channel as it is to be; without a target, one that is there leads where it did."""

    model_config = ConfigDict(hide_input_in_errors=True)

    target: Target | None = None
    least_severity: AlertSeverity = "info"
    """What is less is not told to it."""
    is_enabled: bool = True


class ChannelPublic(BaseModel):
    """A channel, without what is secret of it."""

    name: str
    kind: ChannelKind
    address: str
    """Where to, as far as that is no secret."""
    least_severity: AlertSeverity
    is_enabled: bool
    set_by: str
    set_at: datetime


class DeliveryPublic(BaseModel):
    """One message to one channel, and how far it is."""

    id: str
    key: str
    """Travels along: as the header Idempotency-Key, in the Message-ID, as a user property of MQTT."""
    channel: str
    about: str
    state: DeliveryState
    attempts: int
    problem: str
    """Of the last attempt."""
    created_at: datetime
    next_at: datetime
    sent_at: datetime | None


def alerts_public(session: Session, rows: Sequence[AlertRow], now: datetime) -> list[AlertPublic]:
    """Return alerts as they are shown."""
    silences = active_silences(session, now)
    acknowledged = acknowledgements_of(session, [row.id for row in rows])
    return [_alert(row, acknowledged, silenced_by(silences, row.labels, now)) for row in rows]


def _alert(row: AlertRow, acknowledged: Mapping[str, AlertAcknowledgement], silences: list[str]) -> AlertPublic:
    known = acknowledged.get(row.id)
    word = None if known is None else AcknowledgementPublic.model_validate(known, from_attributes=True)
    return AlertPublic(
        **row.model_dump(exclude={"key", "held_s", "clear_s"}), acknowledgement=word, silenced_by=silences
    )


def rule_public(name: str, rule: AlertRule, row: AlertRuleRow | None, *, is_built_in: bool) -> RulePublic:
    """Return a rule as it is shown."""
    return RulePublic(
        name=name,
        rule=rule,
        is_built_in=is_built_in,
        set_by=row.set_by if row else "",
        set_at=row.set_at if row else None,
    )
