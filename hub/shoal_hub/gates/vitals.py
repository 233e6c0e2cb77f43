"""Adds heartbeats up, device by device, for as long as a rollout's gate looks at vital signs."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, bindparam, cast, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from shoal_contract.telemetry import Heartbeat
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import as_texts, in_parts, is_among
from shoal_hub.gates.plan import MetricName
from shoal_hub.gates.tables import Vitals
from shoal_hub.gates.window_sums import ROWS_AT_A_TIME
from shoal_numerics import DeviceTotals

_MB: Final = 1_000_000
_DAY_S: Final = 86_400.0
_LONGEST_GAP_S: Final = 3 * 3600.0
"""Between two heartbeats; after a longer one nobody knows whether the device ran."""
_AHEAD: Final = timedelta(minutes=5)
"""A heartbeat from further ahead than this is of a wrong clock, and would make all that follow late."""
_HOTTEST_C: Final = 200.0
_LARGEST_MB: Final = 10.0**9
_SUMS: Final = ("beats", "warm_beats", "temperature_c", "memory_mb", "restarts", "observed_s")
_OF_METRIC: Final[dict[MetricName, tuple[str, str, float]]] = {
    "temperature": ("temperature_c", "warm_beats", 1.0),
    "memory": ("memory_mb", "beats", 1.0),
    "restarts": ("restarts", "observed_s", _DAY_S),
}
"""For each metric its numerator, its weight, and the weight's unit."""


def watch(session: Session, rollout_id: str, device_ids: Collection[str]) -> None:
    """Add up the heartbeats of a rollout's devices, and mark where they stand: what is compared begins now."""
    known: dict[str, Vitals] = {}
    for part in in_parts(sorted(device_ids)):
        known |= {row.device_id: row for row in session.exec(_of(rollout_id).where(col(Vitals.device_id).in_(part)))}
    for device_id in sorted(device_ids):
        row = known.get(device_id) or Vitals(rollout_id=rollout_id, device_id=device_id)
        row.marked = {name: float(getattr(row, name)) for name in _SUMS}
        session.add(row)


def forget(session: Session, rollout_id: str) -> None:
    """Watch a rollout's devices no more."""
    session.exec(delete(Vitals).where(col(Vitals.rollout_id) == rollout_id))


@dataclass
class _Sums:
    """A row of `Vitals` but for its mark, which heartbeats do not move."""

    rollout_id: str
    device_id: str
    beats: int
    warm_beats: int
    temperature_c: float
    memory_mb: float
    restarts: int
    observed_s: float
    uptime_s: float
    beat_at: datetime | None


def take_beats(session: Session, beats: Mapping[str, Sequence[Heartbeat]], now: datetime) -> None:
    """Add up heartbeats of devices that are watched; those of others cost a look into the table."""
    if not beats:
        return
    rows = [_Sums(*row) for row in _WATCHED.rows(session, ids=as_texts(beats))]
    changed = [row for row in rows if sum(_add(row, beat, now) for beat in beats[row.device_id])]
    _KEEP.execute(session, [{f"new_{name}": value for name, value in vars(row).items()} for row in changed])


def vital_totals(
    session: Session, rollout_id: str, devices: SelectOfScalar[str], metrics: Collection[MetricName]
) -> dict[MetricName, tuple[DeviceTotals, DeviceTotals]]:
    """Return each metric's totals before and since the mark, of (devices,) float64 each, by the devices' ids.

    There is nothing before: devices are watched from the rollout's start on, and what earlier canaries said since then
    is of the new version. Devices that are not watched are left out.

    Args:
        session: An open session.
        rollout_id: The rollout that watches them.
        devices: Selects the devices' ids.
        metrics: Of `temperature`, `memory` (means over heartbeats) and `restarts` (a day).
    """
    if not metrics:
        return {}
    sums = dict(zip(_SUMS, _since_mark(session, _selected(rollout_id, devices)), strict=True))
    found = {}
    for metric in metrics:
        numerator, weight, unit = _OF_METRIC[metric]
        nothing = np.zeros_like(sums[weight])
        found[metric] = DeviceTotals(nothing, nothing), DeviceTotals(sums[numerator], sums[weight] / unit)
    return found


def _selected(rollout_id: str, devices: SelectOfScalar[str]) -> Any:  # noqa: ANN401 - a statement over columns
    wanted: Any = select_columns(*(col(getattr(Vitals, name)) for name in _SUMS), cast(col(Vitals.marked), String))
    is_among = (col(Vitals.rollout_id) == rollout_id, col(Vitals.device_id).in_(devices))
    return wanted.where(*is_among).order_by(col(Vitals.device_id))


def _since_mark(session: Session, wanted: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a statement over columns
    """Return what each of the sums has grown by, (sums, devices); a batch of marks is read in one go."""
    grown = [np.zeros((len(_SUMS), 0))]
    for rows in session.connection().execute(wanted).partitions(ROWS_AT_A_TIME):
        *sums, marked = zip(*rows, strict=True)
        marks = json.loads(f"[{','.join(marked)}]")
        at_mark = [[mark.get(name, 0.0) for mark in marks] for name in _SUMS]
        grown.append(np.array(sums, dtype=np.float64) - np.array(at_mark, dtype=np.float64))
    return np.concatenate(grown, axis=1)


def _add(row: _Sums, beat: Heartbeat, now: datetime) -> bool:
    """Add a heartbeat, and return whether it counts."""
    if beat.at > now + _AHEAD or (row.beat_at is not None and beat.at <= row.beat_at):
        return False  # of a wrong clock, repeated or late
    gap_s = (beat.at - row.beat_at).total_seconds() if row.beat_at is not None else _LONGEST_GAP_S + 1
    if gap_s <= _LONGEST_GAP_S:  # a start after a longer silence is of a board that was off
        row.restarts += beat.uptime_s < row.uptime_s
        row.observed_s += gap_s
    row.beats += 1
    row.memory_mb += min(beat.memory_bytes / _MB, _LARGEST_MB)
    if beat.temperature_c is not None and abs(beat.temperature_c) <= _HOTTEST_C:
        row.warm_beats += 1
        row.temperature_c += beat.temperature_c
    row.uptime_s, row.beat_at = beat.uptime_s, beat.at
    return True


def _of(rollout_id: str) -> SelectOfScalar[Vitals]:
    return select(Vitals).where(Vitals.rollout_id == rollout_id)


_NAMES: Final = [one.name for one in fields(_Sums)]
_COLUMNS: Final[list[Any]] = [getattr(Vitals, name) for name in _NAMES]
_WATCHED: Final = Query(
    select_columns(*_COLUMNS)
    .where(is_among(col(Vitals.device_id), bindparam("ids", type_=String())))
    .order_by(col(Vitals.rollout_id), col(Vitals.device_id))
)
_KEEP: Final = Bulk(
    update(Vitals)
    .where(
        col(Vitals.rollout_id) == bindparam("new_rollout_id"),
        col(Vitals.device_id) == bindparam("new_device_id"),
    )
    .values({name: bindparam(f"new_{name}") for name in _NAMES[2:]})
)
