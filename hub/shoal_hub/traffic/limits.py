"""Limits of what devices take: set for the fleet, a group or a device, and told to each device in its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select

from shoal_contract.desired import DesiredConfig
from shoal_hub.devices.intents import mark_stale
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.traffic.tables import LimitScope, TransferLimit


@dataclass(frozen=True)
class Limits:
    """What a device may take; None bounds nothing, or leaves it to the next wider scope."""

    max_fetch_bytes_per_s: int | None = None
    max_bytes_per_month: int | None = None

    def before(self, wider: "Limits") -> "Limits":
        """Return these, with the wider scope's where there is none."""
        return Limits(
            self.max_fetch_bytes_per_s if self.max_fetch_bytes_per_s is not None else wider.max_fetch_bytes_per_s,
            self.max_bytes_per_month if self.max_bytes_per_month is not None else wider.max_bytes_per_month,
        )


def limits_by_device(session: Session, groups: Mapping[str, str]) -> dict[str, Limits]:
    """Return what holds for each device: its own limits, then its group's, then the fleet's, value by value.

    Args:
        session: An open session.
        groups: The devices, with the group that each is at home in; empty for none.
    """
    names = groups.keys() | {group for group in groups.values() if group}
    wanted = select(TransferLimit).where(or_(TransferLimit.scope == "fleet", col(TransferLimit.name).in_(names)))
    found = {
        (row.scope, row.name): Limits(row.max_fetch_bytes_per_s, row.max_bytes_per_month)
        for row in session.exec(wanted).all()
    }
    nothing = Limits()

    def limits_of(device_id: str, home: str) -> Limits:
        fleet, group = found.get(("fleet", ""), nothing), found.get(("groups", home), nothing)
        return found.get(("devices", device_id), nothing).before(group).before(fleet)

    return {device_id: limits_of(device_id, home) for device_id, home in groups.items()}


def with_limits(config: DesiredConfig, limits: Limits) -> DesiredConfig:
    """Return a device's configuration with the limits that hold for it; what the configuration names itself stays."""
    own = Limits(config.max_fetch_bytes_per_s, config.max_bytes_per_month)
    merged = own.before(limits)
    if merged == own:
        return config
    update = {
        "max_fetch_bytes_per_s": merged.max_fetch_bytes_per_s,
        "max_bytes_per_month": merged.max_bytes_per_month,
    }
    return config.model_copy(update=update)


def set_limits(
    session: Session, scope: LimitScope, name: str, limits: Limits, *, by: str, now: datetime
) -> TransferLimit:
    """Set the limits of a scope; without any, the scope says nothing any more. Its devices are told.

    Args:
        session: An open transaction.
        scope: Whose.
        name: The group's name or the device's id; empty for the fleet.
        limits: The limits.
        by: Who sets them.
        now: The clock.

    Raises:
        NotFoundError: There is no such device.
        ConflictError: The device was revoked.
    """
    if scope == "devices":
        _check_device(session, name)
    row = session.get(TransferLimit, (scope, name), with_for_update=True)
    row = row or TransferLimit(scope=scope, name=name, set_by=by, set_at=now)
    row.max_fetch_bytes_per_s, row.max_bytes_per_month = limits.max_fetch_bytes_per_s, limits.max_bytes_per_month
    row.set_by, row.set_at = by, now
    session.add(row)
    for device_id in _devices_of(session, scope, name):
        mark_stale(session, device_id)
    whose = "the fleet" if scope == "fleet" else name
    text = (
        f"{whose} may fetch {_said(limits.max_fetch_bytes_per_s, 'bytes/s')} and take "
        f"{_said(limits.max_bytes_per_month, 'bytes a month')}, set by {by}"
    )
    record_event(session, "limits_set", text, subject="/".join(filter(None, ("limits", scope, name))), at=now)
    return row


def _check_device(session: Session, device_id: str) -> None:
    device = session.get(Device, device_id)
    if device is None:
        raise NotFoundError(f"limiting device {device_id}: there is none", "list them: shoal devices list")
    if device.revoked_at is not None:
        raise ConflictError(f"limiting device {device_id}: it was revoked, and can be told nothing", "leave it out")


def _devices_of(session: Session, scope: LimitScope, name: str) -> list[str]:
    wanted = select(Device.id).where(col(Device.revoked_at).is_(None))
    if scope == "groups":
        wanted = wanted.where(Device.group == name)
    elif scope == "devices":
        wanted = wanted.where(Device.id == name)
    return list(session.exec(wanted.order_by(col(Device.id))).all())


def _said(limit: int | None, unit: str) -> str:
    return "as much as it likes" if limit is None else f"{limit} {unit}"
