"""What is told of an alert, when, and what is not: silences, acknowledgements, groups and repetitions. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_hub.alerts.tables import AlertSeverity, AlertState, Transition
from shoal_hub.requests import Line

SEVERITIES: Final[tuple[AlertSeverity, ...]] = ("info", "warning", "critical")


class Matcher(BaseModel):
    """That a label has a value, or has another one; an alert without the label has an empty value of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=63)]
    value: Line
    op: Literal["=", "!="] = "="

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are as it says."""
        return (labels.get(self.label, "") == self.value) == (self.op == "=")


@dataclass(frozen=True)
class Silence:
    """Alerts that all matchers fit are told to nobody, from one time until before another."""

    id: str
    matchers: Sequence[Matcher]
    starts_at: datetime
    ends_at: datetime

    def covers(self, labels: Mapping[str, str], now: datetime) -> bool:
        """Whether it silences an alert with these labels now."""
        return self.starts_at <= now < self.ends_at and all(one.fits(labels) for one in self.matchers)


def silenced_by(silences: Iterable[Silence], labels: Mapping[str, str], now: datetime) -> list[str]:
    """Return the ids of the silences that cover an alert now."""
    return [one.id for one in silences if one.covers(labels, now)]


@dataclass(frozen=True)
class Timing:
    """How notifications are gathered and repeated; seconds.

    Attributes:
        group_wait_s: How long the first of a rule waits for others, so that they go in one.
        group_interval_s: Between two of a rule at least.
        repeat_interval_s: After which an alert that goes on unacknowledged is told again.
    """

    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float


@dataclass(frozen=True)
class Told:
    """What one channel was told of an alert, or is to be, last: not its end."""

    transition: Transition
    number: int
    at: datetime


def next_word(
    state: AlertState, told: Told | None, timing: Timing, now: datetime, *, is_quiet: bool, is_acknowledged: bool
) -> tuple[Transition, int] | None:
    """Return what a channel is to be told of an alert now, and the repetition's number; None: nothing.

    What was told is told to be over, silenced or not: a silence keeps people from being called; an end calls nobody.

    Args:
        state: The alert's.
        told: What the channel was told last.
        timing: When to repeat.
        now: The clock; one that was set back or forth causes a repetition at most.
        is_quiet: Whether a silence covers the alert.
        is_acknowledged: Whether a person looks after it.
    """
    if state == "resolved":
        return ("resolved", 0) if told is not None else None
    if state != "firing" or is_quiet:
        return None
    if told is None:
        return "firing", 0
    if is_acknowledged or abs(now - told.at) < timedelta(seconds=timing.repeat_interval_s):
        return None
    return "repeated", told.number + 1


def is_group_due(first_at: datetime, last_sent_at: datetime | None, timing: Timing, now: datetime) -> bool:
    """Whether what waits to be told of one rule goes now.

    Args:
        first_at: Since when the first of it waits.
        last_sent_at: When something of this rule went to this channel last.
        timing: How long to wait.
        now: The clock; after one that was set, it goes rather too early than never.
    """
    has_waited = abs(now - first_at) >= timedelta(seconds=timing.group_wait_s)
    if last_sent_at is None:
        return has_waited
    return has_waited and abs(now - last_sent_at) >= timedelta(seconds=timing.group_interval_s)


def is_severe_enough(severity: AlertSeverity, least: AlertSeverity) -> bool:
    """Whether a channel takes alerts of a severity."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)
