"""Adds heartbeats up, device by device, for as long as a rollout's gate looks at vital signs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, delete, select

from shoal_contract.telemetry import Heartbeat
from shoal_hub.gates.tables import Vitals
from shoal_numerics import DeviceTotals

_MB: Final = 1_000_000
_DAY_S: Final = 86_400.0
_LONGEST_GAP_S: Final = 3 * 3600.0
"""Between two heartbeats; after a longer one nobody knows whether the device ran."""
_PART: Final = 500
_SUMS: Final = ("beats", "warm_beats", "temperature_c", "memory_mb", "restarts", "observed_s")
_OF_METRIC: Final = {
    "temperature": ("temperature_c", "warm_beats", 1.0),
    "memory": ("memory_mb", "beats", 1.0),
    "restarts": ("restarts", "observed_s", _DAY_S),
}
"""For each metric its numerator, its weight, and the weight's unit."""


def watch(session: Session, device_ids: Collection[str]) -> None:
    """Add up the heartbeats of these devices from now on, and mark where each stands: a wave begins."""
    known: dict[str, Vitals] = {}
    for part in _parts(sorted(device_ids)):
        known |= {row.device_id: row for row in session.exec(select(Vitals).where(col(Vitals.device_id).in_(part)))}
    for device_id in device_ids:
        row = known.get(device_id) or Vitals(device_id=device_id)
        row.marked = {name: float(getattr(row, name)) for name in _SUMS}
        session.add(row)


def forget(session: Session, device_ids: Collection[str]) -> None:
    """Watch these devices no more."""
    for part in _parts(sorted(device_ids)):
        session.exec(delete(Vitals).where(col(Vitals.device_id).in_(part)))


def take_beats(session: Session, beats: Mapping[str, Sequence[Heartbeat]]) -> None:
    """Add up heartbeats of devices that are watched; those of others cost a look into the table."""
    for part in _parts(sorted(beats)):
        for row in session.exec(select(Vitals).where(col(Vitals.device_id).in_(part))):
            for beat in beats[row.device_id]:
                _add(row, beat)
            session.add(row)


def vital_totals(session: Session, device_ids: Sequence[str], metric: str) -> tuple[DeviceTotals, DeviceTotals]:
    """Return one metric's totals before the mark and since, of (devices,) float64 each, in the order given.

    Args:
        session: An open session.
        device_ids: The devices.
        metric: `temperature`, `memory` (means over heartbeats) or `restarts` (a day).
    """
    numerator, weight, unit = _OF_METRIC[metric]
    place = {device_id: index for index, device_id in enumerate(device_ids)}
    sums: NDArray[np.float64] = np.zeros((4, len(device_ids)))
    for part in _parts(device_ids):
        for row in session.exec(select(Vitals).where(col(Vitals.device_id).in_(part))):
            before = [row.marked.get(name, 0.0) for name in (numerator, weight)]
            now = [float(getattr(row, name)) for name in (numerator, weight)]
            sums[:, place[row.device_id]] = [*before, now[0] - before[0], now[1] - before[1]]
    return DeviceTotals(sums[0], sums[1] / unit), DeviceTotals(sums[2], sums[3] / unit)


def _add(row: Vitals, beat: Heartbeat) -> None:
    if row.beat_at is not None and beat.at <= row.beat_at:
        return  # a repeated or late one
    if row.beat_at is not None:
        row.restarts += beat.uptime_s < row.uptime_s
        gap_s = (beat.at - row.beat_at).total_seconds()
        row.observed_s += gap_s if gap_s <= _LONGEST_GAP_S else 0.0
    row.beats += 1
    row.memory_mb += beat.memory_bytes / _MB
    if beat.temperature_c is not None:
        row.warm_beats += 1
        row.temperature_c += beat.temperature_c
    row.uptime_s, row.beat_at = beat.uptime_s, beat.at


def _parts(device_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(device_ids), _PART):
        yield device_ids[start : start + _PART]
