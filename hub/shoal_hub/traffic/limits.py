"""Limits of what devices take: set for the fleet, a group or a device, and told to each device in its configuration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import String, and_, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.desired import DesiredConfig
from shoal_hub.bulk import Query
from shoal_hub.database import as_texts, is_among, is_one_of
from shoal_hub.devices.group_tables import GroupDevice
from shoal_hub.devices.groups import find_group, is_home_or_listed
from shoal_hub.devices.intents import mark_all_stale
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


_NOTHING: Final = Limits()


def limits_by_device(session: Session, homes: Mapping[str, str]) -> dict[str, Limits]:
    """Return what holds for each device, value by value: its own limit, then its groups', then the fleet's.

    Of several groups, the one that it is at home in and those that list it, the tightest value holds.

    Args:
        session: An open session.
        homes: The devices, with the group that each is at home in; empty for none.
    """
    session.flush()  # they are read by column
    found = {(scope, name): Limits(rate, budget) for scope, name, rate, budget in _WIDE.rows(session)}
    fleet = found.pop(("fleet", ""), _NOTHING)
    groups = {name: limits for (_, name), limits in found.items()}
    ids = as_texts(homes)
    own = {name: Limits(rate, budget) for _, name, rate, budget in _OWN.rows(session, ids=ids)}
    listing = _limited_groups(session, ids) if groups else {}
    limits: dict[str, Limits] = {}
    for device_id, home in homes.items():
        names = {home, *listing.get(device_id, ())} & groups.keys()
        wider = _tightest([groups[name] for name in names]).before(fleet) if names else fleet
        limits[device_id] = own[device_id].before(wider) if device_id in own else wider
    return limits


def _tightest(limits: Sequence[Limits]) -> Limits:
    """Return the smallest of each value; None where none of these says anything."""
    rates = [one.max_fetch_bytes_per_s for one in limits if one.max_fetch_bytes_per_s is not None]
    budgets = [one.max_bytes_per_month for one in limits if one.max_bytes_per_month is not None]
    return Limits(min(rates, default=None), min(budgets, default=None))


def _limited_groups(session: Session, ids: str) -> dict[str, list[str]]:
    """Return the groups with limits that list each of these devices."""
    listing: dict[str, list[str]] = {}
    for device_id, group in _LISTED.rows(session, ids=ids):
        listing.setdefault(device_id, []).append(group)
    return listing


_AMONG: Final = bindparam("ids", type_=String())
_LIMITS: Final = select_columns(
    col(TransferLimit.scope),
    col(TransferLimit.name),
    col(TransferLimit.max_fetch_bytes_per_s),
    col(TransferLimit.max_bytes_per_month),
)
_WIDE: Final = Query(_LIMITS.where(is_one_of(col(TransferLimit.scope), ("fleet", "groups"))))
_OWN: Final = Query(_LIMITS.where(col(TransferLimit.scope) == "devices", is_among(col(TransferLimit.name), _AMONG)))
_IS_LIMITED: Final = and_(col(TransferLimit.name) == col(GroupDevice.group), col(TransferLimit.scope) == "groups")
_LISTED: Final = Query(
    select_columns(col(GroupDevice.device_id), col(GroupDevice.group))
    .join(TransferLimit, _IS_LIMITED)
    .where(is_among(col(GroupDevice.device_id), _AMONG))
)


def with_limits(config: DesiredConfig, limits: Limits) -> DesiredConfig:
    """Return a device's configuration with the limits that hold for it; what the configuration names itself stays."""
    if limits == _NOTHING:
        return config
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
        NotFoundError: There is no such device or group.
        ConflictError: The device was revoked, or the group is dynamic.
    """
    if scope == "devices":
        _check_device(session, name)
    elif scope == "groups":
        _check_group(session, name)
    row = session.get(TransferLimit, (scope, name), with_for_update=True)
    row = row or TransferLimit(scope=scope, name=name, set_by=by, set_at=now)
    row.max_fetch_bytes_per_s, row.max_bytes_per_month = limits.max_fetch_bytes_per_s, limits.max_bytes_per_month
    row.set_by, row.set_at = by, now
    session.add(row)
    mark_all_stale(session, _devices_of(session, scope, name))
    whose = "the fleet" if scope == "fleet" else name
    text = (
        f"{whose} may fetch {_said(limits.max_fetch_bytes_per_s, 'bytes/s')} and take "
        f"{_said(limits.max_bytes_per_month, 'bytes a month')}, set by {by}"
    )
    record_event(session, "limits_set", text, subject="/".join(filter(None, ("limits", scope, name))), at=now)
    return row


def drop_group_limits(session: Session, name: str) -> None:
    """Take a group's limits away as it ends, while its devices are still in it: they are told.

    Args:
        session: An open transaction.
        name: The group, locked.
    """
    row = session.get(TransferLimit, ("groups", name), with_for_update=True)
    if row is not None:
        mark_all_stale(session, _devices_of(session, "groups", name))
        session.delete(row)


def follow_listing(session: Session, name: str, device_ids: Collection[str]) -> None:
    """Have devices that a group has begun or ceased to list go by its limits from now on, if it has any.

    Args:
        session: An open transaction.
        name: The group, locked.
        device_ids: The devices, none of them revoked.
    """
    if device_ids and session.get(TransferLimit, ("groups", name)) is not None:
        mark_all_stale(session, device_ids)


def _check_group(session: Session, name: str) -> None:
    group = find_group(session, name, is_locked=True)
    if group.query is not None:
        raise ConflictError(
            f"limiting the group {name}: it is dynamic, and its devices are others with each report",
            "limit a static group that lists them, the devices one by one, or the fleet",
        )


def _check_device(session: Session, device_id: str) -> None:
    device = session.get(Device, device_id)
    if device is None:
        raise NotFoundError(f"limiting device {device_id}: there is none", "list them: shoal devices list")
    if device.revoked_at is not None:
        raise ConflictError(f"limiting device {device_id}: it was revoked, and can be told nothing", "leave it out")


def _devices_of(session: Session, scope: LimitScope, name: str) -> list[str]:
    wanted = select(Device.id).where(col(Device.revoked_at).is_(None))
    if scope == "groups":
        wanted = wanted.where(is_home_or_listed(name))
    elif scope == "devices":
        wanted = wanted.where(Device.id == name)
    return list(session.exec(wanted.order_by(col(Device.id))).all())


def _said(limit: int | None, unit: str) -> str:
    return "as much as it likes" if limit is None else f"{limit} {unit}"
