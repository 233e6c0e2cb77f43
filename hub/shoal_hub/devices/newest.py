"""Which devices report on the newest of what is wanted of them, so that what they say is said of it."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.tables import DesiredRow, Device


def newest_reported(session: Session, devices: Sequence[Device]) -> set[str]:
    """Return the ids of those that report the state that stands, and for which no other is to be composed."""
    ids = [one.id for one in devices]
    stale = set(session.exec(select(StaleDesired.device_id).where(col(StaleDesired.device_id).in_(ids))))
    orders = select(DesiredRow.device_id, DesiredRow.epoch, DesiredRow.generation)
    rows = session.exec(orders.where(col(DesiredRow.device_id).in_(ids))).all()
    standing = {device_id: (epoch, generation) for device_id, epoch, generation in rows}
    return {
        one.id
        for one in devices
        if one.id not in stale
        and one.id in standing
        and (one.reported_epoch, one.reported_generation) >= standing[one.id]
    }
