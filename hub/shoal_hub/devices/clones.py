"""Notices one identity in two places: a copied disk, or a key that was taken from a device.

Each start of an agent makes a new instance. The broker lets one connection of a device live, so two copies push each
other out in turn, and an instance comes back that another had replaced: one device alone never does that.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlmodel import Session

from shoal_contract.reported import Presence
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event

_REMEMBERED: Final = 16
"""Instances that are kept of a device: more starts than that between two of a copy's turns hide the copy."""
_TELL_AGAIN: Final = timedelta(hours=1)


class Instances(NamedTuple):
    """The instances of a device, the present one last, and whether one of them has come back."""

    known: list[str]
    is_cloned: bool


def follow(known: Sequence[str], instance: str) -> Instances:
    """Return the instances after `instance` has come online. Pure."""
    others = [one for one in known if one != instance]
    is_back = bool(known) and known[-1] != instance and instance in known
    return Instances([*others, instance][-_REMEMBERED:], is_back)


def note_instance(session: Session, device: Device, presence: Presence, now: datetime) -> bool:
    """Note who has come online; return whether the device has just shown to be in two places.

    Args:
        session: An open transaction.
        device: The device, of that session.
        presence: News, with a later connection than any before it.
        now: The clock.
    """
    instances = follow(device.instances, presence.instance)
    if instances.known != device.instances:
        device.instances = instances.known
        session.add(device)
    is_told = device.clone_seen_at is not None and now - device.clone_seen_at < _TELL_AGAIN
    if not instances.is_cloned or is_told:
        return False
    device.clone_seen_at = now
    text = (
        f"the identity of {device.name or device.id} is used in two places at once: a copy of its disk or of its key. "
        f"Revoke it (shoal devices revoke {device.id}) and enrol the right device with a new token"
    )
    record_event(session, "device_cloned", text, device_id=device.id, severity="error")
    return True
