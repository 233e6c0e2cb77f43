"""Alerts: what fires, by which rules, who is told, and the API's routes as methods."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport

AlertSeverity = Literal["info", "warning", "critical"]
AlertState = Literal["pending", "firing", "resolved"]
_LOOK_S = 0.5


class Acknowledgement(Value):
    """Who looks after an alert."""

    by: str
    note: str
    at: datetime


class Alert(Value):
    """An alert; `silenced_by` names the silences that cover it now."""

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
    acknowledgement: Acknowledgement | None
    silenced_by: list[str]


class Notice(Value):
    """What a channel was told of an alert; without a delivery, it waits for others of its rule."""

    channel: str
    transition: str
    number: int
    created_at: datetime
    delivery_id: str | None
    state: str | None
    attempts: int
    problem: str


class AlertDetail(Alert):
    """An alert, and who was told of it."""

    notices: list[Notice]


class AlertRule(Value):
    """A rule; `rule` is its body as `Alerts.set_rule` takes it."""

    name: str
    rule: dict[str, Any]
    is_built_in: bool
    set_by: str
    set_at: datetime | None


class Silence(Value):
    """Alerts with such labels are told to nobody for a time."""

    id: str
    matchers: list[dict[str, str]]
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str
    created_at: datetime
    ended_by: str


class Thresholds(Value):
    """What is too bad for a model, by metric."""

    model: str
    thresholds: dict[str, float]


class AlertChannel(Value):
    """A channel, without what is secret of it."""

    name: str
    kind: Literal["webhook", "email", "mqtt", "slack"]
    address: str
    least_severity: AlertSeverity
    is_enabled: bool
    set_by: str
    set_at: datetime


class AlertDelivery(Value):
    """One message to one channel, and how far it is: queued, sent or failed."""

    id: str
    key: str
    channel: str
    about: str
    state: Literal["queued", "sent", "failed"]
    attempts: int
    problem: str
    created_at: datetime
    next_at: datetime
    sent_at: datetime | None


class Alerts:
    """What fires, why, and who is told."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self, alert_id: str) -> AlertDetail:
        """Return an alert, and who was told of it."""
        return self._transport.call("GET", f"/alerts/{alert_id}", AlertDetail)

    def acknowledge(self, alert_id: str, note: str = "") -> AlertDetail:
        """Say that one looks after an alert: it is not repeated any more."""
        return self._transport.call("POST", f"/alerts/{alert_id}/acknowledgement", AlertDetail, json={"note": note})

    def rules(self) -> list[AlertRule]:
        """List rules by name, the hub's own ones among them."""
        return self._transport.call("GET", "/alerts/rules", list[AlertRule])

    def rule(self, name: str) -> AlertRule:
        """Return a rule."""
        return self._transport.call("GET", f"/alerts/rules/{name}", AlertRule)

    def set_rule(self, name: str, rule: Mapping[str, Any]) -> AlertRule:
        """Set a rule, in place of an earlier one of its name.

        Args:
            name: Its name.
            rule: `when`, a condition with its `kind`; and `for_s`, `resolve_s`, `severity`, `labels`, `channels`,
                `is_enabled`, `summary` where they are not to be as usual.
        """
        return self._transport.call("PUT", f"/alerts/rules/{name}", AlertRule, json=dict(rule))

    def remove_rule(self, name: str) -> AlertRule:
        """Forget a rule; one of the hub's own is as it was at first."""
        return self._transport.call("DELETE", f"/alerts/rules/{name}", AlertRule)

    def silences(self, *, over: bool = False) -> list[Silence]:
        """List silences that are at work or to come; or those that are over."""
        params = {"is_over": over, "limit": 1000}
        return self._transport.call("GET", "/alerts/silences", list[Silence], params=params)

    def silence(
        self,
        matchers: Sequence[Mapping[str, str]],
        ends_at: datetime,
        reason: str,
        *,
        starts_at: datetime | None = None,
    ) -> Silence:
        """Have alerts told to nobody for a time.

        Args:
            matchers: `label`, `value` and, for another one than that, `op: "!="`; all of them have to fit.
            ends_at: Until when; aware.
            reason: Why.
            starts_at: From when on; None: now.
        """
        body = {
            "matchers": [dict(one) for one in matchers],
            "ends_at": ends_at.isoformat(),
            "starts_at": starts_at.isoformat() if starts_at else None,
            "reason": reason,
        }
        return self._transport.call("POST", "/alerts/silences", Silence, json=body)

    def unsilence(self, silence_id: str) -> Silence:
        """End a silence before its time."""
        return self._transport.call("DELETE", f"/alerts/silences/{silence_id}", Silence)

    def thresholds(self, model: str) -> Thresholds:
        """Return what is too bad for a model, by metric."""
        return self._transport.call("GET", f"/alerts/thresholds/{model}", Thresholds)

    def set_thresholds(self, model: str, thresholds: Mapping[str, float]) -> Thresholds:
        """Say what is too bad for a model; a metric that is left out goes by its own threshold again."""
        body = {"thresholds": dict(thresholds)}
        return self._transport.call("PUT", f"/alerts/thresholds/{model}", Thresholds, json=body)

    def channels(self) -> list[AlertChannel]:
        """List channels by name."""
        return self._transport.call("GET", "/alerts/channels", list[AlertChannel])

    def set_channel(
        self,
        name: str,
        target: Mapping[str, Any] | None,
        *,
        least_severity: AlertSeverity = "info",
        is_enabled: bool = True,
    ) -> AlertChannel:
        """Make a channel, or change it.

        Args:
            name: Its name.
            target: Where it leads, with its `kind`: webhook (`url`, `secret`), slack (`url`), email (`host`, `sender`,
                `to`, …) or mqtt; None: where it has led until now.
            least_severity: What is less is not told to it.
            is_enabled: Whether anything is told to it.
        """
        body = {
            "target": dict(target) if target is not None else None,
            "least_severity": least_severity,
            "is_enabled": is_enabled,
        }
        return self._transport.call("PUT", f"/alerts/channels/{name}", AlertChannel, json=body)

    def remove_channel(self, name: str) -> AlertChannel:
        """Forget a channel with its secrets."""
        return self._transport.call("DELETE", f"/alerts/channels/{name}", AlertChannel)

    def test_channel(self, name: str, *, wait_s: float = 0.0) -> AlertDelivery:
        """Have a message sent by a channel, as alerts are; return how far it is.

        Args:
            name: The channel.
            wait_s: How long to wait for its first attempt to end.
        """
        delivery = self._transport.call("POST", f"/alerts/channels/{name}/test", AlertDelivery)
        until_s = time.monotonic() + wait_s
        while delivery.state == "queued" and not delivery.problem and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
            delivery = self.delivery(delivery.id)
        return delivery

    def deliveries(
        self, *, state: str | None = None, channel: str | None = None, limit: int = 100
    ) -> list[AlertDelivery]:
        """List what was to be told, the latest first."""
        params = {name: value for name, value in {"state": state, "channel": channel}.items() if value is not None}
        return self._transport.call("GET", "/alerts/deliveries", list[AlertDelivery], params=params | {"limit": limit})

    def delivery(self, delivery_id: str) -> AlertDelivery:
        """Return how far one message is."""
        return self._transport.call("GET", f"/alerts/deliveries/{delivery_id}", AlertDelivery)

    def list(
        self,
        *,
        states: Sequence[AlertState] = (),
        rule: str | None = None,
        severity: AlertSeverity | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Alert]:
        """List alerts, those that began last first; without states, those that are not over."""
        given: dict[str, Any] = {"state": [*states] or None, "rule": rule, "severity": severity}
        params = {name: value for name, value in given.items() if value is not None}
        return self._transport.call("GET", "/alerts", list[Alert], params=params | {"limit": limit, "offset": offset})
