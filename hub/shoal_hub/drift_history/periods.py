"""Hours and days in UTC, and the cohorts that a device is in. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shoal_hub.drift_history.tables import Scope, Span

LENGTH: Final[dict[Span, timedelta]] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class Whose(NamedTuple):
    """Whose windows are merged in a period: a scope and, but for the fleet, a name."""

    scope: Scope
    name: str = ""


FLEET: Final = Whose("fleet")


def start_of(span: Span, at: datetime) -> datetime:
    """Return when the hour or day, in UTC, of a time began; `at` is in UTC."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if span == "hour" else hour.replace(hour=0)


def starts_between(span: Span, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield when each period began, from the one of `since` to the last that began before `until`."""
    at = start_of(span, since)
    while at < until:
        yield at
        at += LENGTH[span]


def cohorts_of(group: str, tags: Mapping[str, object], named: Sequence[str]) -> list[Whose]:
    """Return the cohorts of a device: its home, and its values of the tags that make cohorts."""
    found = [Whose("group", group)] if group else []
    return found + [Whose("tag", f"{tag}={tags[tag]}") for tag in named if tags.get(tag) not in (None, "")]
