"""Adds heartbeats up, device by device, for as long as a rollout's gate looks at vital signs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from shoal_contract.telemetry import Heartbeat
from shoal_hub.database import in_parts
from shoal_hub.gates.tables import Vitals
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
_OF_METRIC: Final = {
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


def take_beats(session: Session, beats: Mapping[str, Sequence[Heartbeat]], now: datetime) -> None:
    """Add up heartbeats of devices that are watched; those of others cost a look into the table."""
    for part in in_parts(sorted(beats)):
        for row in session.exec(select(Vitals).where(col(Vitals.device_id).in_(part))):
            for beat in beats[row.device_id]:
                _add(row, beat, now)
            session.add(row)


def vital_totals(
    session: Session, rollout_id: str, device_ids: Sequence[str], metric: str
) -> tuple[DeviceTotals, DeviceTotals]:
    """Return one metric's totals before and since the mark, of (devices,) float64 each, in the order given.

    There is nothing before: devices are watched from the rollout's start on, and what earlier canaries said since then
    is of the new version.

    Args:
        session: An open session.
        rollout_id: The rollout that watches them.
        device_ids: The devices.
        metric: `temperature`, `memory` (means over heartbeats) or `restarts` (a day).
    """
    numerator, weight, unit = _OF_METRIC[metric]
    place = {device_id: index for index, device_id in enumerate(device_ids)}
    sums: NDArray[np.float64] = np.zeros((2, len(device_ids)))
    for row in session.exec(_of(rollout_id)):
        if row.device_id in place:
            sums[:, place[row.device_id]] = [
                float(getattr(row, name)) - row.marked.get(name, 0.0) for name in (numerator, weight)
            ]
    nothing = np.zeros(len(device_ids))
    return DeviceTotals(nothing, nothing), DeviceTotals(sums[0], sums[1] / unit)


def _add(row: Vitals, beat: Heartbeat, now: datetime) -> None:
    if beat.at > now + _AHEAD or (row.beat_at is not None and beat.at <= row.beat_at):
        return  # of a wrong clock, repeated or late
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


def _of(rollout_id: str) -> SelectOfScalar[Vitals]:
    return select(Vitals).where(Vitals.rollout_id == rollout_id)
