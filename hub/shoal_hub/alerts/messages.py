"""What is said of alerts: one message for programs, and how people read it in a mail or a chat. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shoal_hub.alerts.tables import AlertSeverity, Transition
from shoal_hub.alerts.telling import SEVERITIES

_MAX_TOLD = 20
"""Alerts that a person is told one by one; programs get all of them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToldAlert(_Part):
    """One alert of a message."""

    id: str
    key: str
    """Of this transition of this alert: another message with it tells the same."""
    transition: Transition
    rule: str
    severity: AlertSeverity
    labels: dict[str, str]
    message: str
    value: float | None
    threshold: float | None
    fired_at: datetime | None
    resolved_at: datetime | None


class AlertMessage(_Part):
    """What one channel is told at once."""

    about: str
    """The rule, or the subject of what somebody has told."""
    status: Annotated[str, Field(pattern="^(firing|resolved|told)$")]
    """`firing` where at least one of the alerts is; `told` is what automation or a person has the hub say."""
    severity: AlertSeverity
    title: str
    text: str
    labels: dict[str, str] = {}
    alerts: tuple[ToldAlert, ...] = ()
    at: datetime
    """When it was written."""


def message_of(rule: str, summary: str, alerts: Sequence[ToldAlert], now: datetime) -> AlertMessage:
    """Write the message of some alerts of one rule, at least one."""
    last = {one.id: one for one in alerts}  # of one that has fired and ended, its end
    firing = [one for one in last.values() if one.transition != "resolved"]
    status = "firing" if firing else "resolved"
    severity = max((one.severity for one in firing or last.values()), key=SEVERITIES.index)
    count = len(firing) or len(last)
    head = f"{severity} " if firing else ""
    title = f"[{head}{status}] {rule}: {summary or 'alert'}" + (f" ({count})" if count > 1 else "")
    lines = [_line(one) for one in list(last.values())[:_MAX_TOLD]]
    if len(last) > _MAX_TOLD:
        lines.append(f"and {len(last) - _MAX_TOLD} more: shoal alerts list")
    return AlertMessage(
        about=rule, status=status, severity=severity, title=title, text="\n".join(lines), alerts=tuple(alerts), at=now
    )


def _line(one: ToldAlert) -> str:
    named = ", ".join(f"{name} {value}" for name, value in sorted(one.labels.items()) if name not in _HEAD and value)
    word = {"firing": "firing", "repeated": "still firing", "resolved": "resolved"}[one.transition]
    return f"{word}: {named or one.rule}: {one.message} (shoal alerts show {one.id})"


_HEAD = frozenset({"rule", "severity"})
