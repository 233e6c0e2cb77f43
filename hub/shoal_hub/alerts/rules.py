"""Rules: those that the hub has from the start, and those that people set, which take the place of one of that name."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlmodel import Session, col, select

from shoal_contract.ids import Name
from shoal_hub.alerts.conditions import (
    Condition,
    DriftCondition,
    MetricCondition,
    NoDataCondition,
    OfflineCondition,
    RolloutCondition,
    Seconds,
)
from shoal_hub.alerts.machine import Patience
from shoal_hub.alerts.tables import AlertChannel, AlertRuleRow, AlertSeverity
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.requests import Line

MAX_RULES: Final = 500
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class AlertRule(BaseModel):
    """What is looked for, for how long it has to be seen, and who is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: Condition
    for_s: Seconds = 300.0
    """For how long the condition has to hold until the alert fires."""
    resolve_s: Seconds = 300.0
    """For how long it has to hold no more until the alert is resolved: what flaps stays one alert."""
    severity: AlertSeverity = "warning"
    labels: Annotated[dict[LabelName, Line], Field(max_length=16)] = {}
    """Of each alert of the rule, besides those by which the condition groups, which count where they meet."""
    channels: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Who is told; none: every channel."""
    is_enabled: bool = True
    summary: Line = ""
    """For people, before what was found."""

    @property
    def patience(self) -> Patience:
        """The rule's times."""
        return Patience(self.for_s, self.resolve_s)

    def labels_of(self, name: str, of_group: dict[str, str]) -> dict[str, str]:
        """Return all labels of an alert of this rule, which `name` is the name of."""
        return {**self.labels, **of_group, "rule": name, "severity": self.severity}


BUILT_IN: Final[dict[str, AlertRule]] = {
    "drift": AlertRule(when=DriftCondition(), for_s=0.0, resolve_s=600.0, summary="The inputs of a model have drifted"),
    "accuracy-low": AlertRule(
        when=MetricCondition(metric="accuracy", window_s=3600.0), summary="A model is right less often than it should"
    ),
    "precision-low": AlertRule(
        when=MetricCondition(metric="precision", window_s=3600.0), summary="What a model finds is wrong too often"
    ),
    "recall-low": AlertRule(
        when=MetricCondition(metric="recall", window_s=3600.0), summary="A model misses too much of what it should find"
    ),
    "latency-high": AlertRule(when=MetricCondition(metric="p95_latency"), summary="A model answers slowly"),
    "errors-high": AlertRule(
        when=MetricCondition(metric="error_rate"), severity="critical", summary="Requests to a model fail"
    ),
    "devices-offline": AlertRule(when=OfflineCondition(), summary="Many devices are offline"),
    "rollout-stuck": AlertRule(when=RolloutCondition(), for_s=0.0, resolve_s=0.0, summary="A rollout needs a person"),
    "no-data": AlertRule(when=NoDataCondition(), summary="A model says nothing of itself any more"),
}
"""Rules of a hub that nobody has set anything at."""


def rules_of(session: Session) -> dict[str, AlertRule]:
    """Return every rule by name, also those that are not enabled."""
    rows = session.exec(select(AlertRuleRow).order_by(col(AlertRuleRow.name)))
    found = BUILT_IN | {row.name: AlertRule.model_validate(row.body) for row in rows}
    return dict(sorted(found.items()))


def find_rule(session: Session, name: str) -> tuple[AlertRule, AlertRuleRow | None]:
    """Return a rule, and its row unless it is one of the hub's own.

    Raises:
        NotFoundError: There is no such rule.
    """
    row = session.get(AlertRuleRow, name)
    if row is not None:
        return AlertRule.model_validate(row.body), row
    if name not in BUILT_IN:
        raise NotFoundError(f"there is no alert rule {name}", "list them: shoal alerts rules list")
    return BUILT_IN[name], None


def put_rule(session: Session, name: str, rule: AlertRule, *, by: str, now: datetime) -> AlertRuleRow:
    """Set a rule, in place of an earlier one of its name.

    Raises:
        NotFoundError: It names a channel that there is not.
        ConflictError: There are as many rules as there may be.
    """
    _require_channels(session, rule)
    row = session.get(AlertRuleRow, name)
    if row is None:
        if len(session.exec(select(AlertRuleRow.name)).all()) >= MAX_RULES:
            raise ConflictError(
                f"setting the alert rule {name}: there are {MAX_RULES}, which is the most",
                "remove others: shoal alerts rules remove",
            )
        row = AlertRuleRow(name=name, body={}, set_by=by, set_at=now)
    row.body, row.set_by, row.set_at = rule.model_dump(mode="json"), by, now
    session.add(row)
    announce(session, "alerts")
    return row


def remove_rule(session: Session, name: str) -> None:
    """Forget a rule; its alerts end at the next look. One of the hub's own is as it was at first.

    Raises:
        NotFoundError: There is no such rule.
        ConflictError: It is one of the hub's own, and nobody has set it.
    """
    _, row = find_rule(session, name)
    if row is None:
        raise ConflictError(
            f"removing the alert rule {name}: it is one of the hub's own",
            f"switch it off instead: shoal alerts rules add {name} --file FILE with is_enabled: false",
        )
    session.delete(row)
    announce(session, "alerts")


def _require_channels(session: Session, rule: AlertRule) -> None:
    for name in rule.channels:
        if session.get(AlertChannel, name) is None:
            raise NotFoundError(f"there is no alert channel {name}", "list them: shoal alerts channels list")
