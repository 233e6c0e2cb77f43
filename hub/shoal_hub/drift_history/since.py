"""Since when devices show drift: day by day back through their scores, then finer by hours and windows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import numpy as np

from shoal_hub.drift_history.counts import Totals, sum_of
from shoal_hub.drift_history.periods import LENGTH, start_of
from shoal_hub.drift_history.public import CauseDay
from shoal_hub.drift_history.scores import Scores, joined, read_block
from shoal_hub.drift_history.stored import Version, days_back
from shoal_hub.drift_history.watched import Watched
from shoal_numerics import DriftThresholds, detect_drift

MAX_DAYS: Final = 91
"""How far is looked back."""
CHUNK_DAYS: Final = 13
"""Days that are read at once; most drift is young."""
REFINED_DEVICES: Final = 40
"""Devices whose hours are looked at, together."""
REFINED_WINDOWS: Final = 400
"""Windows that are looked at, of the devices together."""
_COLUMNS: Final = ("devices", "samples", "drifted", "ks", "psi")


class DaysBack(NamedTuple):
    """What going back through days has found.

    Attributes:
        since: The day from which on each device shows drift without a break; devices without are left out.
        days: How many devices showed drift on each day, the earliest first.
        is_earlier: Whether a device still did on the first day that was looked at.
    """

    since: dict[str, datetime]
    days: list[CauseDay]
    is_earlier: bool


def look_back(version: Version, devices: Sequence[str], day: datetime) -> DaysBack:
    """Go back day by day while any of the devices shows drift. A day without enough samples breaks nothing."""
    going, since = set(devices), dict[str, datetime]()
    days: list[CauseDay] = []
    limits = version.watched.thresholds
    for begin, end in days_back(day, CHUNK_DAYS, MAX_DAYS):
        by_day = _scores_by_day(version, begin, end)
        for at in sorted(by_day, reverse=True):
            scores = by_day[at]
            days.append(_count(at, scores, limits))
            _go_on(at, scores, limits, going, since)
        if not going:
            break
    return DaysBack(since, sorted(days, key=lambda one: one.started_at), bool(going & since.keys()))


def _scores_by_day(version: Version, begin: datetime, end: datetime) -> dict[datetime, Scores]:
    parts: dict[datetime, list[Scores]] = defaultdict(list)
    for row in version.blocks(begin, end, _COLUMNS):
        parts[row.started_at].append(read_block(row))
    return {at: joined(scores) for at, scores in parts.items()}


def _count(at: datetime, scores: Scores, limits: DriftThresholds) -> CauseDay:
    raised = int((scores.drifted.sum(axis=1) >= limits.min_features).sum())
    tested = int(scores.is_tested(limits.min_samples).sum())
    return CauseDay(started_at=at, devices=tested, devices_drifted=raised)


def _go_on(at: datetime, scores: Scores, limits: DriftThresholds, going: set[str], since: dict[str, datetime]) -> None:
    """Follow the devices that are still gone back with through one more day."""
    has_drifted = np.asarray(scores.drifted.any(axis=1))
    for place in np.flatnonzero(scores.is_tested(limits.min_samples)).tolist():
        device = scores.devices[place]
        if device not in going:
            continue
        if has_drifted[place]:
            since[device] = at
        else:
            going.discard(device)


class Refined(NamedTuple):
    """Since when, and how finely that is known."""

    at: datetime
    by: Literal["day", "hour", "window"]


def refine(version: Version, devices: Sequence[str], day: datetime, until: datetime) -> Refined | None:
    """Find the hour, and within it the window, from which on devices whose drift began on a day show it together.

    Args:
        version: The version.
        devices: Whose drift began on that day.
        day: The day; one that began late on the day before is found as well.
        until: What is later is not looked at.

    Returns:
        None where neither hours nor windows of that time are kept, or they do not show it.
    """
    chosen = devices[:REFINED_DEVICES]
    begin, end = day - LENGTH["day"], min(until, day + LENGTH["day"])
    hours: dict[datetime, list[Totals]] = defaultdict(list)
    for _, at, total in version.periods("hour", chosen, begin, end):
        hours[at].append(total)
    for _, at, total in version.windows(chosen, begin, end, are_to_come=True):
        hours[start_of("hour", at)].append(total)
    first = _first_drifted(version.watched, hours)
    if first is None:
        return _by_windows(version, chosen, end - LENGTH["hour"], end)
    within = _by_windows(version, chosen, first - LENGTH["hour"], first + LENGTH["hour"])
    return within or Refined(first, "hour")


def _first_drifted(watched: Watched, periods: Mapping[datetime, Sequence[Totals]]) -> datetime | None:
    """Return the first period from which on all that can be tested have drifted; None where the last has not."""
    first = None
    for at in sorted(periods, reverse=True):
        verdict = _is_drifted(watched, sum_of(periods[at]))
        if verdict is False:
            break
        first = at if verdict else first
    return first


def _by_windows(version: Version, devices: Sequence[str], begin: datetime, end: datetime) -> Refined | None:
    """Go back through windows, as many together as a test needs; None where the latest show nothing."""
    least = version.watched.thresholds.min_samples
    gathered: list[Totals] = []
    since: datetime | None = None
    windows = version.windows(devices, begin, end, most=REFINED_WINDOWS)
    for _, at, total in sorted(windows, key=lambda one: one[1], reverse=True):
        gathered.append(total)
        if sum(one.samples for one in gathered) < least:
            continue
        if not _is_drifted(version.watched, sum_of(gathered)):
            break
        since, gathered = at, []
    return Refined(since, "window") if since is not None else None


def _is_drifted(watched: Watched, total: Totals | None) -> bool | None:
    """Return whether windows show drift together; None where they are too few."""
    if total is None:
        return None
    verdict = detect_drift(watched.reference, total.histogram(watched), watched.thresholds, watched.categorical)
    return bool(verdict.leading) if verdict.is_tested else None
