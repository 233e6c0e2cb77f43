"""Rules, thresholds, silences and channels that people set; alerts, and what was to be told of them."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, String, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shoal_hub.database import SECRET, UNAUDITED, UtcDateTime

AlertSeverity = Literal["info", "warning", "critical"]
AlertState = Literal["pending", "firing", "resolved"]
Transition = Literal["firing", "repeated", "resolved"]
DeliveryState = Literal["queued", "sent", "failed"]
ChannelKind = Literal["webhook", "email", "mqtt", "slack"]
JsonObject = dict[str, Any]
_IS_OPEN = text("state <> 'resolved'")


class AlertRuleRow(SQLModel, table=True):
    """A rule that was set; one of the hub's own rules of the same name gives way to it."""

    __tablename__ = "alert_rules"

    name: str = Field(primary_key=True)
    body: JsonObject = Field(sa_type=JSON, description="AlertRule")
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class AlertThreshold(SQLModel, table=True):
    """Where one metric of one model becomes too bad."""

    __tablename__ = "alert_thresholds"

    model: str = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    value: float
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class AlertRow(SQLModel, table=True):
    """One time that a rule's condition held for one thing, from its first sight to its end."""

    __tablename__ = "alerts"
    # What windows and devices come to, no decision; `alert_acknowledgements` holds those.
    __table_args__ = (
        Index("ix_alerts_open", "rule", "key", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        Index("ix_alerts_state", "state", "pending_at"),
        {"info": UNAUDITED},
    )

    id: str = Field(primary_key=True)
    rule: str
    key: str = Field(description="of what: the labels that the rule groups by, as JSON")
    state: AlertState = Field(sa_type=String)
    severity: AlertSeverity = Field(sa_type=String)
    labels: dict[str, str] = Field(sa_type=JSON)
    message: str
    value: float | None = None
    threshold: float | None = None
    held_s: float = Field(default=0.0, description="for how long the condition was seen to hold before it fired")
    clear_s: float | None = Field(default=None, description="for how long, since then, it was seen not to hold")
    pending_at: datetime = Field(sa_type=UtcDateTime)
    fired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolution: str = Field(default="", description="why it ended")


class AlertAcknowledgement(SQLModel, table=True):
    """That a person looks after an alert: it is not repeated any more."""

    __tablename__ = "alert_acknowledgements"

    alert_id: str = Field(primary_key=True, foreign_key="alerts.id", ondelete="CASCADE")
    by: str
    note: str
    at: datetime = Field(sa_type=UtcDateTime)


class AlertSilence(SQLModel, table=True):
    """Alerts with such labels are told to nobody for a time."""

    __tablename__ = "alert_silences"

    id: str = Field(primary_key=True)
    matchers: list[JsonObject] = Field(sa_type=JSON, description="Matcher; all of them have to fit")
    starts_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    reason: str
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_by: str = Field(default="", description="who has ended it early")


class AlertChannel(SQLModel, table=True):
    """A way to tell people; where to, and its secrets, are sealed by a key in the trust folder."""

    __tablename__ = "alert_channels"

    name: str = Field(primary_key=True)
    kind: ChannelKind = Field(sa_type=String)
    address: str = Field(description="where to, without what is secret of it")
    sealed: bytes = Field(sa_type=LargeBinary, sa_column_kwargs={"info": SECRET}, description="ChannelTarget")
    least_severity: AlertSeverity = Field(sa_type=String)
    is_enabled: bool
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class AlertNotice(SQLModel, table=True):
    """That one channel is to be told one thing of one alert, once; several of a rule go in one delivery."""

    __tablename__ = "alert_notices"
    __table_args__ = (
        UniqueConstraint("alert_id", "channel", "transition", "number"),
        Index("ix_alert_notices_waiting", "delivery_id", "channel"),
        {"info": UNAUDITED},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    alert_id: str = Field(foreign_key="alerts.id", ondelete="CASCADE")
    channel: str
    transition: Transition = Field(sa_type=String)
    number: int = Field(default=0, description="of repetitions, counted from 1")
    created_at: datetime = Field(sa_type=UtcDateTime)
    delivery_id: str | None = Field(
        default=None, description="with which it goes; none: it waits for others of its rule"
    )


class AlertDelivery(SQLModel, table=True):
    """The outbox: one message to one channel, the same bytes and the same key however often it is tried."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        Index("ix_alert_deliveries_state", "state", "created_at"),
        Index("ix_alert_deliveries_about", "channel", "about", "created_at"),
        {"info": UNAUDITED},
    )

    id: str = Field(primary_key=True)
    key: str = Field(unique=True, description="travels along, so that a receiver knows a repetition")
    channel: str
    about: str = Field(description="what goes in order: a rule, or the subject of what somebody has told")
    payload: JsonObject = Field(sa_type=JSON, description="AlertMessage")
    state: DeliveryState = Field(default="queued", sa_type=String)
    attempts: int = 0
    waited_s: float = Field(default=0.0, description="of which it was waited between them")
    next_at: datetime = Field(sa_type=UtcDateTime)
    begun_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="when the attempt began whose end is not known yet"
    )
    problem: str = Field(default="", description="of the last attempt")
    created_at: datetime = Field(sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
