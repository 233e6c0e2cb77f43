"""Fills a hub's database with a large fleet's history, of rows that its own roll-up has written for a few devices.

Sixty-four devices send windows of steady data and sixteen of drifted data; the hub's ingest takes them and its roll-up
merges them. What it wrote of these are the templates. Each device of the large fleet gets one of them at random for
each day; blocks of scores are joined, and days of the fleet and its groups added up, by the hub's own code. The large
fleet has no windows, which the history is there to outlive, and hours of a hundred devices alone.
"""

import base64
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlmodel import Session, col, delete, select
from tests.simulators.rows import add_version

from shoal_contract.ids import new_device_id
from shoal_contract.telemetry import LATENCY_EDGES_MS, OutboxPosition, SketchCounts, Window
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.drift_history.counts import Totals, totals_of_row
from shoal_hub.drift_history.periods import start_of
from shoal_hub.drift_history.roll_up import RollUp
from shoal_hub.drift_history.scores import Scores, block_columns, block_of, joined, ks_values, psi_values, read_block
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.drift_history.tables import DeviceDays, DriftPeriod
from shoal_hub.drift_history.watched import Watched, find_watched
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.monitoring.windows import take_window
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram, HistogramEdges, pack_counts

MODEL = "pumps"
REFERENCE_ROWS = 10_000
WINDOW_ROWS = 300
WINDOWS = 4
"""Of a template's day."""
STEADY, DRIFTED = 64, 16
MOVED = (3, 11, 17, 24)
"""Features that drift."""
GROUPS = 20
HOURLY_DEVICES = 100
DRIFTING_GROUP = 3
COUNTS_DAYS = 40
"""Whole counts of devices' days are kept for so long."""
_ROWS_AT_ONCE = 2000
Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fleet:
    """What was filled in.

    Attributes:
        devices: Ids, of the group of their number modulo GROUPS.
        drifting: Those of group-3 that drift from `began` on.
        until: The end of the last day.
    """

    devices: list[str]
    drifting: list[str]
    days: list[datetime]
    began: datetime
    until: datetime


@dataclass(frozen=True)
class Templates:
    """What the roll-up wrote: totals of a device's hour and day, and scores of its day; the drifted ones at the end."""

    hours: list[Totals]
    days: list[Totals]
    scores: Scores
    roll_up_s: float
    """CPU that the roll-up took a window."""


def fill(database: Database, folder: Path, devices: int, days: int, features: int) -> tuple[Fleet, Templates]:
    """Fill a database, and return what is in it."""
    began_s = time.monotonic()
    today = start_of("day", datetime.now(UTC))
    watched = _register(database, folder, features)
    templates = _templates(database, watched, today)
    starts = [today - timedelta(days=days - at) for at in range(days)]
    fleet = _devices(database, devices, starts)
    print(f"templates and devices: {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    rng = np.random.default_rng(7)
    groups = np.arange(devices) % GROUPS
    is_drifting = np.isin(np.array(fleet.devices), fleet.drifting)
    for at, day in enumerate(starts):
        chosen = rng.integers(STEADY, size=devices)
        if day >= fleet.began:
            chosen[is_drifting] = STEADY + rng.integers(DRIFTED, size=int(is_drifting.sum()))
        _fill_day(database, fleet, templates, day, chosen, groups, has_counts=at >= days - COUNTS_DAYS)
    print(f"the history: {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return fleet, templates


def _register(database: Database, folder: Path, features: int) -> Watched:
    rows = np.random.default_rng(1).normal(size=(REFERENCE_ROWS, features)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows, 100)
    reference = Histogram.of(edges, rows)
    confidence = HistogramEdges.uniform(0.0, 1.0, 20)
    baseline = {
        "samples": REFERENCE_ROWS,
        "features": [
            {
                "name": f"f{place}",
                "edges": edges.of_feature(place).tolist(),
                "counts": reference.of_feature(place).tolist(),
                "missing": 0,
            }
            for place in range(features)
        ],
        "predictions": [REFERENCE_ROWS // 2, REFERENCE_ROWS // 2],
        "confidence": {
            "name": "confidence",
            "edges": confidence.of_feature(0).tolist(),
            "counts": [0] * (confidence.bin_total - 1) + [REFERENCE_ROWS],
        },
    }
    with database.transaction() as session:
        version = add_version(session, ArtifactStore(str(folder / "artifacts")), 1, {}, MODEL)
        session.get_one(Version, version.id).baseline = baseline
    with database.session() as session:
        watched = find_watched(session, MODEL, 1)
    assert watched is not None
    return watched


def _templates(database: Database, watched: Watched, today: datetime) -> Templates:
    """Have a few devices send windows, merge them by the hub's code, and take away what it has written."""
    ids = [new_device_id() for _ in range(STEADY + DRIFTED)]
    with database.transaction() as session:
        session.connection().execute(insert(Device), [_device(one, number, "") for number, one in enumerate(ids)])
    rng = np.random.default_rng(5)
    for number, device in enumerate(ids):
        with database.transaction() as session:
            for hour in range(WINDOWS):
                rows = rng.normal(size=(WINDOW_ROWS, watched.feature_count)).astype(np.float32)
                if number >= STEADY:
                    rows[:, MOVED] += 1.0
                take_window(session, device, _window(watched, rows, today - timedelta(hours=2 + hour)), today)
    chore, began_s = RollUp(database, HistorySettings()), time.process_time()
    while chore.step(today):
        pass
    spent_s = time.process_time() - began_s
    with database.session() as session:
        hours, days = (_totals(session, watched, ids, span) for span in ("hour", "day"))
        scores = joined([read_block(row) for row in session.exec(select(DeviceDays))])
    places = {device: at for at, device in enumerate(scores.devices)}
    ordered = scores.chosen(np.array([places[device] for device in ids]))
    with database.transaction() as session:
        for table in (WindowRow, DriftPeriod, DeviceDays):
            session.exec(delete(table))
    return Templates(hours, days, ordered, spent_s / (len(ids) * WINDOWS))


def _totals(session: Session, watched: Watched, ids: list[str], span: str) -> list[Totals]:
    wanted = select(DriftPeriod).where(DriftPeriod.span == span, DriftPeriod.scope == "device")
    found = {
        row.name: totals_of_row(row, watched) for row in session.exec(wanted.order_by(col(DriftPeriod.started_at)))
    }
    return [found[device] for device in ids]


def _window(watched: Watched, rows: Rows, at: datetime) -> Window:
    histogram = Histogram.of(watched.reference.edges, rows)
    features, bins = histogram.edges.padded_shape

    def counts(values: Rows, width: int) -> SketchCounts:
        return SketchCounts(rows=features, bins=width, data=base64.b64encode(pack_counts(values)).decode())

    baseline = watched.baseline
    return Window(
        outbox=OutboxPosition(stream="0" * 16, sequence=1, oldest=1),
        model=MODEL,
        version=1,
        manifest_sha256="0" * 64,
        started_at=at - timedelta(minutes=1),
        ended_at=at,
        requests=len(rows),
        samples=len(rows),
        errors=0,
        features=counts(histogram.padded().ravel(), bins),
        missing=counts(histogram.missing, 1),
        predictions=(len(rows), *(0,) * (len(baseline.predictions) - 1)),
        confidence=(0,) * len(baseline.confidence.counts),
        latency=(0,) * (len(LATENCY_EDGES_MS) + 1),
    )


def _device(device_id: str, number: int, group: str) -> dict[str, Any]:
    return {
        "id": device_id,
        "name": f"pump-{number:05}",
        "group": group,
        "tags": {"site": ("paris", "lyon", "lille", "metz")[number % 4], "line": str(number % 10)},
        "public_key_sha256": f"{number:064}",
        "certificate_serial": str(number),
        "enrolled_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def _devices(database: Database, count: int, days: list[datetime]) -> Fleet:
    ids = [new_device_id() for _ in range(count)]
    rows = [_device(one, number, f"group-{number % GROUPS}") for number, one in enumerate(ids)]
    with database.transaction() as session:
        session.connection().execute(insert(Device), rows)
    drifting = [one for number, one in enumerate(ids) if number % GROUPS == DRIFTING_GROUP][: max(1, count // 40)]
    began = days[len(days) * 2 // 3]
    return Fleet(ids, drifting, days, began, days[-1] + timedelta(days=1))


def _fill_day(
    database: Database,
    fleet: Fleet,
    templates: Templates,
    day: datetime,
    chosen: Rows,
    groups: Rows,
    *,
    has_counts: bool,
) -> None:
    key = {"model": MODEL, "version": 1, "started_at": day, "updated_at": fleet.until}
    blocks: dict[str, list[int]] = {}
    for place, device in enumerate(fleet.devices):
        blocks.setdefault(block_of(device), []).append(place)
    scores = []
    for block, places in blocks.items():
        of = templates.scores.chosen(chosen[places])
        named = Scores(tuple(fleet.devices[place] for place in places), of.samples, of.drifted, of.ks, of.psi)
        scores.append(key | {"block": block, "revision": 1} | block_columns(named))
    whole = [("fleet", "", np.bincount(chosen, minlength=STEADY + DRIFTED))]
    for group in range(GROUPS):
        counted = np.bincount(chosen[groups == group], minlength=STEADY + DRIFTED)
        whole.append(("group", f"group-{group}", counted))
    periods = [
        key | {"span": "day", "scope": scope, "name": name} | _sum(templates.days, counts).row()
        for scope, name, counts in whole
    ]
    packed = [one.row() for one in templates.days]
    if has_counts:
        of_device = key | {"span": "day", "scope": "device"}
        periods += [
            of_device | {"name": device} | packed[template]
            for device, template in zip(fleet.devices, chosen.tolist(), strict=True)
        ]
    hourly = [one.row() for one in templates.hours]
    if day >= fleet.until - timedelta(days=14):
        told = dict.fromkeys([*fleet.drifting[: HOURLY_DEVICES // 2], *fleet.devices[: HOURLY_DEVICES // 2]])
        place_of = {device: place for place, device in enumerate(fleet.devices) if device in told}
        for hour in range(24):
            of_hour = key | {"span": "hour", "scope": "device", "started_at": day + timedelta(hours=hour)}
            periods += [of_hour | {"name": one} | hourly[chosen[place_of[one]]] for one in told]
    with database.transaction() as session:
        session.connection().execute(insert(DeviceDays), scores)
        for start in range(0, len(periods), _ROWS_AT_ONCE):
            session.connection().execute(insert(DriftPeriod), periods[start : start + _ROWS_AT_ONCE])


def _sum(templates: list[Totals], chosen: Rows) -> Totals:
    """Return the sum of so many of each template."""
    times = chosen.tolist()

    def total(name: str) -> int:
        return int(sum(count * getattr(one, name) for one, count in zip(templates, times, strict=True)))

    return Totals(
        total("windows"),
        total("requests"),
        total("samples"),
        total("errors"),
        total("labelled"),
        total("correct"),
        chosen @ np.stack([one.counts for one in templates]),
    )


def rows_of(database: Database) -> dict[str, Any]:
    """Return the same scores as one row a device, feature and day would have them: arrays of a value a row."""
    parts: dict[str, list[Any]] = {"day": [], "device": [], "samples": [], "drifted": [], "ks": [], "psi": []}
    number: dict[str, int] = {}
    with database.session() as session:
        for at, day in enumerate(sorted(session.exec(select(DeviceDays.started_at).distinct()))):
            for row in session.exec(select(DeviceDays).where(DeviceDays.started_at == day)):
                scores = read_block(row)
                parts["day"].append(np.full(len(scores.devices), at, dtype=np.int16))
                ids = [number.setdefault(one, len(number)) for one in scores.devices]
                parts["device"].append(np.array(ids, dtype=np.int32))
                parts["samples"].append(scores.samples.astype(np.int32))
                parts["drifted"].append(scores.drifted)
                parts["ks"].append(ks_values(scores.ks).astype(np.float32))
                parts["psi"].append(psi_values(scores.psi).astype(np.float32))
            session.expunge_all()
    return {name: np.concatenate(values) for name, values in parts.items()}
