"""What merging some windows changes: rows of hours and days, and blocks of scores; read first, then written at once.

Nothing is locked between the two. Each row is written only if it still is what it was, so that nothing is lost to
another process that merges as well.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select, update

from shoal_hub.bulk import Addition, Bulk
from shoal_hub.database import in_parts
from shoal_hub.devices.tables import Device
from shoal_hub.drift_history.counts import NUMBERS, Totals, sum_of, totals_of_row, totals_of_window
from shoal_hub.drift_history.periods import FLEET, Whose, cohorts_of, start_of
from shoal_hub.drift_history.retention import Retention
from shoal_hub.drift_history.scores import Scores, block_columns, block_of, merged, read_block, scores_of
from shoal_hub.drift_history.tables import DeviceDays, DriftPeriod, Span
from shoal_hub.drift_history.watched import Watched, find_watched
from shoal_hub.errors import HubError
from shoal_numerics import DriftVerdict, NumericsError, detect_drift

log = logging.getLogger(__name__)


class RacedError(HubError):
    """A row is not what it was: another process has merged windows in between."""

    code = "raced"


class Rules(NamedTuple):
    """What of the history is kept: for how long, of which cohorts by tags, and of how many cohorts at most."""

    retention: Retention
    tags: Sequence[str] = ()
    most_cohorts: int = 200


class Period(NamedTuple):
    """An hour or day of one scope."""

    span: Span
    whose: Whose
    started_at: datetime


class _Existing(NamedTuple):
    """A row as it was read: its id, the windows in it, and its totals."""

    id: int
    windows: int
    totals: Totals


@dataclass
class Change:
    """Rows to be added, and rows to be written if they still are what they were."""

    new_periods: list[dict[str, Any]] = field(default_factory=list)
    periods: list[dict[str, Any]] = field(default_factory=list)
    new_blocks: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)


_KEY: Final = ("model", "version", "span", "scope", "name", "started_at")
_PERIOD: Final = (*NUMBERS, "counts", "embedding", "updated_at")
_BLOCK_KEY: Final = ("model", "version", "started_at", "block")
_BLOCK: Final = ("revision", "features", "devices", "samples", "drifted", "ks", "psi", "updated_at")
_ADD_PERIOD: Final = Addition(DriftPeriod, (*_KEY, *_PERIOD), {})
_ADD_BLOCK: Final = Addition(DeviceDays, (*_BLOCK_KEY, *_BLOCK), {})
_WRITE_PERIOD: Final = Bulk(
    update(DriftPeriod)
    .where(col(DriftPeriod.id) == bindparam("row"), col(DriftPeriod.windows) == bindparam("had"))
    .values({name: bindparam(name) for name in _PERIOD})
)
_WRITE_BLOCK: Final = Bulk(
    update(DeviceDays)
    .where(col(DeviceDays.id) == bindparam("row"), col(DeviceDays.revision) == bindparam("had"))
    .values({name: bindparam(name) for name in _BLOCK})
)


def plan_change(session: Session, rows: Sequence[Any], rules: Rules, now: datetime) -> Change:
    """Work out what merging windows changes; of versions that there are not, nothing."""
    change = Change()
    homes = _cohorts(session, {row.device_id for row in rows}, rules.tags)
    of_version: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row in rows:
        of_version[row.model, row.version].append(row)
    for (model, version), of in of_version.items():
        watched = find_watched(session, model, version)
        if watched is None:
            log.warning("%d windows of %s version %d are not merged: there is no such version", len(of), model, version)
            continue
        _plan_version(session, change, _Version(model, version, watched), of, homes, rules, now)
    return change


def write_change(session: Session, change: Change, now: datetime) -> None:
    """Write what was worked out.

    Raises:
        RacedError: A row is not what it was.
        IntegrityError: A row is there already that was not.
    """
    told = {"updated_at": now}
    _ADD_PERIOD.execute(session, [row | told for row in change.new_periods])
    _ADD_BLOCK.execute(session, [row | told for row in change.new_blocks])
    for write, rows in ((_WRITE_PERIOD, change.periods), (_WRITE_BLOCK, change.blocks)):
        written = write.execute(session, [row | told for row in rows])
        if written != len(rows):
            raise RacedError(f"{written} of {len(rows)} rows were what they had been")


class _Version(NamedTuple):
    model: str
    version: int
    watched: Watched

    @property
    def key(self) -> dict[str, Any]:
        return {"model": self.model, "version": self.version}


def _plan_version(
    session: Session,
    change: Change,
    of: _Version,
    rows: Sequence[Any],
    homes: Mapping[str, Sequence[Whose]],
    rules: Rules,
    now: datetime,
) -> None:
    parts = _parts(rows, of.watched, homes)
    added = {
        period: total
        for period, totals in parts.items()
        if period.started_at > rules.retention.oldest(period.span, period.whose.scope, now)
        and (total := sum_of(totals)) is not None
    }
    existing = _existing(session, of, added)
    days: dict[datetime, dict[str, Totals]] = defaultdict(dict)
    for period in _within_limit(session, of, added, rules.most_cohorts):
        old = existing.get(period)
        total = added[period] + old.totals if old is not None else added[period]
        if period.span == "day" and period.whose.scope == "device":
            days[period.started_at][period.whose.name] = total
        if old is not None:
            change.periods.append({"row": old.id, "had": old.windows} | total.row())
        else:
            scope, name = period.whose
            key = {"span": period.span, "scope": scope, "name": name, "started_at": period.started_at}
            change.new_periods.append(of.key | key | total.row())
    for day, devices in days.items():
        _plan_blocks(session, change, of, day, devices)


def _parts(
    rows: Sequence[Any], watched: Watched, homes: Mapping[str, Sequence[Whose]]
) -> Mapping[Period, Sequence[Totals]]:
    """Return what is to be added up for each period. A window counts in the hour and the day in which it ended."""
    by_hour: dict[tuple[str, datetime], list[Totals]] = defaultdict(list)
    for row in rows:
        try:
            by_hour[row.device_id, start_of("hour", row.ended_at)].append(totals_of_window(row, watched))
        except (NumericsError, ValueError):
            log.exception("window %d of %s is not merged: its counts are not its version's", row.id, row.device_id)
    parts: dict[Period, list[Totals]] = defaultdict(list)
    for (device_id, hour), windows in by_hour.items():
        total = sum_of(windows)
        if total is None:
            continue
        for whose in (FLEET, *homes.get(device_id, ()), Whose("device", device_id)):
            parts[Period("hour", whose, hour)].append(total)
            parts[Period("day", whose, start_of("day", hour))].append(total)
    return parts


def _existing(session: Session, of: _Version, periods: Iterable[Period]) -> dict[Period, _Existing]:
    """Return the rows of these periods that there are."""
    named: dict[tuple[str, str], tuple[set[str], set[datetime]]] = defaultdict(lambda: (set(), set()))
    for period in periods:
        names, starts = named[period.span, period.whose.scope]
        names.add(period.whose.name)
        starts.add(period.started_at)
    found: dict[Period, _Existing] = {}
    for (span, scope), (names, starts) in named.items():
        for part in in_parts(sorted(names)):
            wanted = select(DriftPeriod).where(
                DriftPeriod.model == of.model,
                DriftPeriod.version == of.version,
                DriftPeriod.span == span,
                DriftPeriod.scope == scope,
                col(DriftPeriod.name).in_(part),
                col(DriftPeriod.started_at).in_(starts),
            )
            for row in session.exec(wanted):
                period = Period(row.span, Whose(row.scope, row.name), row.started_at)
                found[period] = _Existing(row.id or 0, row.windows, totals_of_row(row, of.watched))
    return found


def _within_limit(session: Session, of: _Version, periods: Iterable[Period], most: int) -> list[Period]:
    """Return the periods but those of cohorts that are too many on their day: a tag may have any number of values."""
    known: dict[datetime, set[Whose]] = {}
    kept = []
    for period in periods:
        if period.whose.scope in {"fleet", "device"}:
            kept.append(period)
            continue
        day = start_of("day", period.started_at)
        if day not in known:
            known[day] = _known_cohorts(session, of, day)
        if period.whose in known[day] or len(known[day]) < most:
            known[day].add(period.whose)
            kept.append(period)
    return kept


def _known_cohorts(session: Session, of: _Version, day: datetime) -> set[Whose]:
    columns: list[Any] = [col(DriftPeriod.scope), col(DriftPeriod.name)]
    wanted: Any = select_columns(*columns).where(
        col(DriftPeriod.model) == of.model,
        col(DriftPeriod.version) == of.version,
        col(DriftPeriod.span) == "day",
        col(DriftPeriod.scope).in_(["group", "tag"]),
        col(DriftPeriod.started_at) == day,
    )
    return {Whose(*row) for row in session.connection().execute(wanted)}


def _plan_blocks(session: Session, change: Change, of: _Version, day: datetime, devices: Mapping[str, Totals]) -> None:
    """Bring the scores of devices' day up to date with its whole counts."""
    verdicts: dict[str, dict[str, tuple[int, DriftVerdict]]] = defaultdict(dict)
    watched = of.watched
    for device_id, total in devices.items():
        window = total.histogram(watched)
        verdict = detect_drift(watched.reference, window, watched.thresholds, watched.categorical)
        verdicts[block_of(device_id)][device_id] = (window.row_count, verdict)
    wanted = select(DeviceDays).where(
        DeviceDays.model == of.model,
        DeviceDays.version == of.version,
        DeviceDays.started_at == day,
        col(DeviceDays.block).in_(list(verdicts)),
    )
    rows = {row.block: row for row in session.exec(wanted)}
    for block, found in verdicts.items():
        row = rows.get(block)
        old: Scores | None = read_block(row) if row is not None else None
        columns = block_columns(merged(old, scores_of(found)))
        if row is not None:
            change.blocks.append({"row": row.id, "had": row.revision, "revision": row.revision + 1} | columns)
        else:
            change.new_blocks.append(of.key | {"started_at": day, "block": block, "revision": 1} | columns)


def _cohorts(session: Session, device_ids: Iterable[str], tags: Sequence[str]) -> dict[str, list[Whose]]:
    """Return the cohorts that devices are in now."""
    found: dict[str, list[Whose]] = {}
    for part in in_parts(sorted(device_ids)):
        columns: list[Any] = [col(Device.id), col(Device.group), col(Device.tags)]
        wanted: Any = select_columns(*columns).where(col(Device.id).in_(part))
        for device_id, group, of in session.connection().execute(wanted):
            found[device_id] = cohorts_of(group, of, tags)
    return found
