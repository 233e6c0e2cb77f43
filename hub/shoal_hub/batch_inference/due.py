"""Whether a schedule's time has come. Pure: what is known goes in, and why a run is to begin comes out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from cronsim import CronSim

from shoal_training.batch_inference.schedule import OnEvent, Schedule

NEW_DATA: Final = "new_data"
_AS_FOUND: Final = ""
"""In place of a fingerprint."""


class Facts(NamedTuple):
    """What is known.

    Attributes:
        since: When a run last began by the schedule, or the schedule was set.
        model: That answers.
        production: Number of the version in production, by model; None: none is.
        newest: Number of the newest version, by model; None: there is none.
        fingerprint: Of the source; None: not known now.
        ended_well: When a run of another batch inference last ended well, by its name; None: never.
        seen: What `seen_now` was when a run last began.
    """

    since: datetime
    model: str
    production: Mapping[str, int | None]
    newest: Mapping[str, int | None]
    fingerprint: str | None
    ended_well: Mapping[str, datetime | None]
    seen: Mapping[str, Any]


def due(schedule: Schedule, facts: Facts, now: datetime) -> str:
    """Return why a run is to begin now; empty: it is not time."""
    if schedule.cron is not None and next(CronSim(schedule.cron, facts.since.astimezone(UTC))) <= now:
        return f"by its schedule, {schedule.cron}"
    for one in schedule.events:
        if told := _event(one, facts):
            return told
    ended = [facts.ended_well.get(name) for name in schedule.after]
    if ended and all(at is not None and at > facts.since for at in ended):
        return f"after {', '.join(schedule.after)}"
    return ""


def seen_now(schedule: Schedule, facts: Facts) -> dict[str, Any]:
    """Return what a run that begins now has to do with, to be compared with later.

    Of a source that is not known now, it is what was seen before.
    """
    seen = {_key(one, facts.model): _value(one, facts) for one in schedule.events}
    if NEW_DATA in seen and facts.fingerprint is None:
        seen[NEW_DATA] = facts.seen.get(NEW_DATA)
    return seen


def seen_as_found(schedule: Schedule, facts: Facts) -> dict[str, Any]:
    """Return what has all that there is now count as seen, the source as it is found at the next look."""
    return seen_now(schedule, facts._replace(fingerprint=_AS_FOUND))


def is_found_first(facts: Facts) -> bool:
    """Return whether the source, which was to count as seen as it is found, is known now."""
    return facts.fingerprint is not None and facts.seen.get(NEW_DATA) == _AS_FOUND


def _event(one: OnEvent, facts: Facts) -> str:
    key, value = _key(one, facts.model), _value(one, facts)
    if value is None or facts.seen.get(key) == value:
        return ""
    if one.kind == NEW_DATA:
        return "" if is_found_first(facts) else "the source has changed"
    model = one.model or facts.model
    return f"{model} version {value} {'is in production' if one.kind == 'production' else 'was registered'}"


def _key(one: OnEvent, model: str) -> str:
    return one.kind if one.kind == NEW_DATA else f"{one.kind} {one.model or model}"


def _value(one: OnEvent, facts: Facts) -> int | str | None:
    if one.kind == NEW_DATA:
        return facts.fingerprint
    return (facts.production if one.kind == "production" else facts.newest).get(one.model or facts.model)
