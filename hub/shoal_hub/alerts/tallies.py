"""Adds windows up by model, version and device group, a minute at a time (`minutes`).

The database adds up, a row a model, version and group.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.alerts.minutes import MOST_SLICES, READ_AT_ONCE, MinuteTallies, Place
from shoal_hub.alerts.truth_tallies import TruthTallies
from shoal_hub.devices.tables import Device
from shoal_hub.monitoring.tables import WindowRow

_BINS: Final = len(LATENCY_EDGES_MS) + 1


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


class WindowTallies(MinuteTallies[Counts]):
    """Remembers what the windows of past minutes come to.

    Args:
        most_slices: Past minutes that are remembered.
        at_once: Past minutes that one look reads.

    Attributes:
        truths: What truth came back in them, and how sure answers were; read where a rule asks for it.
    """

    def __init__(self, most_slices: int = MOST_SLICES, at_once: int = READ_AT_ONCE) -> None:
        super().__init__(_read, most_slices, at_once)
        self.truths = TruthTallies()

    def begin_look(self) -> None:
        """Have the last minutes read again, once for all rules, and some more of the past ones."""
        super().begin_look()
        self.truths.begin_look()


_SUMMED: Final[list[Any]] = [
    *(func.coalesce(func.sum(getattr(WindowRow, name)), 0) for name in ("requests", "errors", "samples")),
    *(func.coalesce(func.sum(getattr(WindowRow, name)), 0) for name in ("labelled", "correct")),
    *(func.coalesce(func.sum(col(WindowRow.latency)[place].as_integer()), 0) for place in range(_BINS)),
]
_PLACE: Final[list[Any]] = [col(WindowRow.model), col(WindowRow.version), col(Device.group)]


def _read(session: Session, start: datetime, end: datetime) -> dict[Place, Counts]:
    wanted: Any = (
        select_columns(*_PLACE, *_SUMMED)
        .join(Device, col(Device.id) == col(WindowRow.device_id))
        .where(col(WindowRow.received_at) >= start, col(WindowRow.received_at) < end)
        .group_by(*_PLACE)
    )
    return {Place(*row[:3]): _counts(row[3:]) for row in session.connection().execute(wanted)}


def _counts(sums: Any) -> Counts:  # noqa: ANN401 - a row's numbers
    requests, errors, samples, labelled, correct, *latency = map(int, sums)
    return Counts(requests, errors, samples, labelled, correct, np.array(latency, dtype=np.int64))
