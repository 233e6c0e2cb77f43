"""Ends drift signals of versions that no device serves any more: no window will ever say that the drift is over."""

from datetime import datetime
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_hub.bulk import Query
from shoal_hub.database import Database
from shoal_hub.devices.matching import load_devices
from shoal_hub.monitoring.drift import lift, serves
from shoal_hub.monitoring.tables import DriftSignal


def settle_signals(database: Database, now: datetime) -> None:
    """Take devices off the signals of versions that they do not serve; a signal of no device is cleared."""
    with database.session() as session:
        active = session.exec(select(DriftSignal).where(_IS_ACTIVE)).all() if _ANY_ACTIVE.rows(session) else []
        settled = [signal.id for signal in active if _left(session, signal)]
    for signal_id in settled:
        with database.transaction() as session:
            signal = session.get_one(DriftSignal, signal_id, with_for_update=True)
            message = f"{signal.model} version {signal.version} is not served any more where its inputs had drifted"
            for device_id in _left(session, signal):
                lift(session, signal, device_id, message, now)


_IS_ACTIVE: Final = col(DriftSignal.state) == "active"
_ANY_ACTIVE: Final = Query(select_columns(col(DriftSignal.id)).where(_IS_ACTIVE).limit(1))


def _left(session: Session, signal: DriftSignal) -> list[str]:
    """Return the signal's devices that are gone or have said that they serve something else."""
    found = {row.id: row for row in load_devices(session, signal.devices)}
    return [device_id for device_id in signal.devices if not serves(found.get(device_id), signal.model, signal.version)]
