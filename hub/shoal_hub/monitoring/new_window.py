"""Windows on their way into the table: many rows at once, without an object of the table's class for each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from sqlmodel import Session

from shoal_hub.bulk import Addition
from shoal_hub.database import JsonText
from shoal_hub.monitoring.tables import WindowRow


@dataclass(frozen=True, slots=True)
class NewWindow:
    """A row of `WindowRow` that is to be added; what is a list there is JSON here."""

    device_id: str
    model: str
    version: int
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    errors: int
    features: bytes
    missing: bytes
    predictions: JsonText
    confidence: JsonText
    latency: JsonText
    labelled: int
    correct: int
    received_at: datetime
    drift: float | None
    embedding: JsonText | None
    slices: JsonText | None
    misfits: JsonText | None
    left_out: dict[str, str] | None
    performance: JsonText | None
    digest: str
    unsketched: int


def add_windows(session: Session, rows: Sequence[NewWindow]) -> None:
    """Add rows in their order."""
    _ADD.execute(session, [{name: getattr(row, name) for name in _COLUMNS} for row in rows])


_COLUMNS: Final = [one.name for one in fields(NewWindow)]
_ADD: Final = Addition(WindowRow, _COLUMNS, {"is_rolled_up": False})
