"""What a rule's condition comes to now, thing by thing. Aggregates of the database, never devices one by one."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlmodel import Session

from shoal_hub.alerts.conditions import (
    Condition,
    DriftCondition,
    MetricCondition,
    NoDataCondition,
    OfflineCondition,
    RolloutCondition,
)
from shoal_hub.alerts.fleet_readings import Breach, drifts, models_without_data, offline_devices, stuck_rollouts
from shoal_hub.alerts.metrics import METRICS, Labels, Look, Measured, Metric
from shoal_hub.alerts.tallies import WindowTallies
from shoal_hub.alerts.thresholds import Thresholds

MAX_KEYS: Final = 1000
"""Things of one rule that are looked at; a rule that finds more is grouped too finely to be read by anybody."""


class Reading(NamedTuple):
    """What one thing looks like.

    Attributes:
        key: Names it within its rule.
        labels: What it is.
        is_breached: Whether the condition holds; None where there is too little to tell.
        message: What was found, for a person.
        value: The number that was compared, if there is one.
        threshold: What with.
    """

    key: str
    labels: dict[str, str]
    is_breached: bool | None
    message: str
    value: float | None = None
    threshold: float | None = None


def read(session: Session, condition: Condition, tallies: WindowTallies, now: datetime) -> list[Reading]:
    """Return what a condition comes to; what is not among the readings is not there, and in no breach.

    Args:
        session: An open session.
        condition: Of a rule.
        tallies: What is remembered of windows from look to look.
        now: The clock.
    """
    found = _finder(session, condition, tallies, now)
    readings = [next_one for next_one, _ in zip(found(), range(MAX_KEYS), strict=False)]
    return sorted(readings, key=lambda one: one.key)


def key_of(labels: Labels) -> str:
    """Return the key of labels: the same for the same, in whatever order."""
    return json.dumps(dict(labels), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _finder(
    session: Session, condition: Condition, tallies: WindowTallies, now: datetime
) -> Callable[[], Iterator[Reading]]:
    match condition:
        case MetricCondition():
            return lambda: _metric(session, condition, tallies, now)
        case DriftCondition():
            return lambda: _found(drifts(session, condition))
        case OfflineCondition():
            return lambda: _found(offline_devices(session, condition, now))
        case RolloutCondition():
            return lambda: _found(stuck_rollouts(session, condition, now))
        case NoDataCondition():
            return lambda: _found(models_without_data(session, condition, now))


def _found(breaches: Iterator[Breach]) -> Iterator[Reading]:
    for labels, message, value, threshold in breaches:
        yield Reading(
            key=key_of(labels),
            labels=dict(labels),
            is_breached=True,
            message=message,
            value=value,
            threshold=threshold,
        )


def _metric(session: Session, condition: MetricCondition, tallies: WindowTallies, now: datetime) -> Iterator[Reading]:
    metric, thresholds = METRICS[condition.metric], Thresholds.read(session)
    since = now - timedelta(seconds=condition.window_s)
    look = Look(session, tallies, since, now, condition.model, condition.group_by)
    for one in metric.measure(look):
        threshold = condition.threshold
        if threshold is None:
            threshold = thresholds.of(one.model, condition.metric)
        yield _judged(condition, metric, one, threshold)


def _judged(condition: MetricCondition, metric: Metric, one: Measured, threshold: float | None) -> Reading:
    labels = dict(one.labels)
    if threshold is None:
        message = f"no threshold of {condition.metric} is set for {one.model}: shoal alerts thresholds {one.model}"
        return Reading(key_of(one.labels), labels, None, message, one.value, None)
    if one.value is None or one.samples < condition.min_samples:
        message = f"{one.samples} {metric.of} in {condition.window_s:g} s, fewer than {condition.min_samples}"
        return Reading(key_of(one.labels), labels, None, message, one.value, threshold)
    name = condition.metric.replace("_", " ")
    side = "below" if metric.is_floor else "above"
    message = (
        f"{name} is {one.value:.4g}{metric.unit} over {one.samples} {metric.of} in {condition.window_s:g} s; "
        f"{side} {threshold:g}{metric.unit} is too bad"
    )
    return Reading(key_of(one.labels), labels, metric.is_bad(one.value, threshold), message, one.value, threshold)
