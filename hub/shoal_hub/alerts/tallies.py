"""Adds windows up by model, version and device group, a minute at a time: each minute is gone through once.

The database adds up, a row a model, version and group; a stretch of hours is the sum of what is remembered of its
minutes. Minutes are of the time at which the hub took the windows in, so that a device's clock has no part in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.devices.tables import Device
from shoal_hub.monitoring.tables import WindowRow

_SLICE_S: Final = 60
_BINS: Final = len(LATENCY_EDGES_MS) + 1
_OPEN_SLICES: Final = 2
"""So many of the last slices are read again: what is committed now may have been taken in a moment ago."""
_READ_AT_ONCE: Final = 10
"""Past slices that one look reads: a hub that starts works its way back over some looks, and holds up nobody."""
_MOST_SLICES: Final = 24 * 60 + 2


class Place(NamedTuple):
    """Where windows come from: what serves them, and the device group."""

    model: str
    version: int
    group: str


@dataclass(frozen=True, eq=False)
class Counts:
    """Sums over windows; `latency` is (14,) int64, over `LATENCY_EDGES_MS`."""

    requests: int
    errors: int
    samples: int
    labelled: int
    correct: int
    latency: NDArray[np.int64]

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of both."""
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.samples + other.samples,
            self.labelled + other.labelled,
            self.correct + other.correct,
            self.latency + other.latency,
        )

    def __lt__(self, other: object) -> bool:
        """Counts have no order; what they are of has."""
        return False


Tally = Mapping[Place, Counts]


class WindowTallies:
    """Remembers what the windows of past minutes come to."""

    def __init__(self) -> None:
        self._slices: dict[int, Tally] = {}
        self._open: dict[int, Tally] = {}
        self._left = _READ_AT_ONCE
        self._seen_until = 0

    def begin_look(self) -> None:
        """Have the last minutes read again, once for all rules, and some more of the past ones."""
        self._open.clear()
        self._left = _READ_AT_ONCE

    def over(self, session: Session, since: datetime, until: datetime) -> Tally:
        """Return what came from one time to another, in whole minutes; of a past not read yet, what was read until now.

        Args:
            session: An open session.
            since: The first minute.
            until: The clock.
        """
        first, last = int(since.timestamp()) // _SLICE_S, int(until.timestamp()) // _SLICE_S
        if last < self._seen_until:  # the clock went back: minutes that were over come again
            self._slices.clear()
            self._open.clear()
        self._seen_until = last
        sums: dict[Place, Counts] = {}
        for number in range(last, first - 1, -1):
            for place, counts in self._slice(session, number, is_over=number <= last - _OPEN_SLICES).items():
                sums[place] = sums[place] + counts if place in sums else counts
        return sums

    def _slice(self, session: Session, number: int, *, is_over: bool) -> Tally:
        known = self._slices.get(number, self._open.get(number))
        if known is not None:
            return known
        if not is_over:
            self._open[number] = _read(session, number)
            return self._open[number]
        if not self._left:
            return {}
        self._left -= 1
        self._slices[number] = found = _read(session, number)
        while len(self._slices) > _MOST_SLICES:
            del self._slices[min(self._slices)]
        return found


_SUMMED: Final[list[Any]] = [
    *(func.coalesce(func.sum(getattr(WindowRow, name)), 0) for name in ("requests", "errors", "samples")),
    *(func.coalesce(func.sum(getattr(WindowRow, name)), 0) for name in ("labelled", "correct")),
    *(func.coalesce(func.sum(col(WindowRow.latency)[place].as_integer()), 0) for place in range(_BINS)),
]
_PLACE: Final[list[Any]] = [col(WindowRow.model), col(WindowRow.version), col(Device.group)]


def _read(session: Session, number: int) -> Tally:
    start = datetime.fromtimestamp(number * _SLICE_S, UTC)
    wanted: Any = (
        select_columns(*_PLACE, *_SUMMED)
        .join(Device, col(Device.id) == col(WindowRow.device_id))
        .where(col(WindowRow.received_at) >= start, col(WindowRow.received_at) < start + timedelta(seconds=_SLICE_S))
        .group_by(*_PLACE)
    )
    return {Place(*row[:3]): _counts(row[3:]) for row in session.connection().execute(wanted)}


def _counts(sums: Any) -> Counts:  # noqa: ANN401 - a row's numbers
    requests, errors, samples, labelled, correct, *latency = map(int, sums)
    return Counts(requests, errors, samples, labelled, correct, np.array(latency, dtype=np.int64))
