"""What a version is going to take of each device's uplink, before a rollout starts, by what the hub knows of it.

The file travels as a delta from what runs there, or as a whole; it comes from the site's cache where that has it. The
same formulas count the bytes as on the device. What turns out otherwise costs more: a device that has lost its file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlmodel import Session, col, select

from shoal_contract.ledger import month_of, uplink_bytes
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import chunk_bytes_for
from shoal_contract.wire_bytes import artifact_cost, ranges_cost
from shoal_hub.devices.tables import Device
from shoal_hub.registry.encrypt import travels_as
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.sites.tables import Site, SiteDevice
from shoal_hub.traffic.limits import Limits, limits_by_device
from shoal_hub.traffic.tables import MonthLedger
from shoal_hub.traffic.take import account_of
from shoal_hub.transfer.tables import Delta

Way = Literal["none", "cache", "delta", "broker", "https"]
"""How the file comes: it is there already or there is none, from the LAN, as a delta, or as a whole by either way."""


@dataclass(frozen=True)
class DeviceForecast:
    """What one device is going to fetch.

    Attributes:
        device_id: The device.
        target: The variant that it takes; empty if it can run none.
        way: How the file comes.
        file_bytes: What travels of the file, without what MQTT, TLS, TCP and IP add.
        uplink_bytes: What the uplink carries for it, both directions, with the manifest.
        budget_left_bytes: What is left of the month's budget, by what the device has told; None without one.
    """

    device_id: str
    target: str
    way: Way
    file_bytes: int
    uplink_bytes: int
    budget_left_bytes: int | None

    @property
    def is_held(self) -> bool:
        """Whether the budget does not allow it this month, unless it is urgent."""
        return self.budget_left_bytes is not None and self.uplink_bytes > self.budget_left_bytes


class _File(NamedTuple):
    """A variant's file: the plain hash, by which devices report it, and what travels of it."""

    plain_sha256: str
    sha256: str
    size_bytes: int


class _Known(NamedTuple):
    """What the hub knows, of all devices at once."""

    files: Mapping[str, _File]
    manifest_bytes: int
    running: Mapping[tuple[int, str, str], str]
    """What travels of the model's files, by number, target and plain hash."""
    deltas: Mapping[tuple[str, str], int]
    cached: Mapping[str, frozenset[str]]
    """Plain hashes that the cache of a device's site has of the model, by device."""


def forecast_bytes(
    session: Session, version: Version, devices: Sequence[Device], now: datetime
) -> list[DeviceForecast]:
    """Return what these devices are going to fetch to run a version, in their order.

    Args:
        session: An open session; nothing is changed.
        version: The version; the deltas to it count that have been made.
        devices: The devices.
        now: The clock, for the month's budgets.
    """
    known = _know(session, version, devices)
    limits, spent = limits_by_device(session, {one.id: one.group for one in devices}), _spent(session, devices, now)
    return [_forecast(known, version, one, limits[one.id], spent.get(one.id, 0)) for one in devices]


def _forecast(known: _Known, version: Version, device: Device, limits: Limits, spent_bytes: int) -> DeviceForecast:
    budget = limits.max_bytes_per_month
    left_bytes = None if budget is None else max(0, budget - spent_bytes)
    target = next((one for one in (device.reported or {}).get("targets", ()) if one in known.files), "")
    if not target:
        return DeviceForecast(device.id, "", "none", 0, 0, left_bytes)
    file = known.files[target]
    way, file_bytes = _way(known, version, device, file)
    cost = {
        "none": 0,
        "cache": 0,
        "delta": _broker_bytes(file.sha256, file_bytes),
        "broker": _broker_bytes(file.sha256, file_bytes),
        "https": ranges_cost(file_bytes, chunk_bytes_for(file_bytes)).total_bytes,
    }[way]
    manifest = _broker_bytes(file.sha256, known.manifest_bytes) if known.manifest_bytes else 0
    return DeviceForecast(device.id, target, way, file_bytes, cost + manifest, left_bytes)


def _way(known: _Known, version: Version, device: Device, file: _File) -> tuple[Way, int]:
    """Return how the file comes, and what travels of it."""
    slots = _slots(device, version.model)
    if file.plain_sha256 in {slot["sha256"] for slot in slots}:
        return "none", 0
    bases = {known.running.get((slot["version"], slot["target"], slot["sha256"])) for slot in slots}
    sizes = [known.deltas[base, file.sha256] for base in bases if base and (base, file.sha256) in known.deltas]
    if sizes and min(sizes) < file.size_bytes:
        return "delta", min(sizes)
    if file.plain_sha256 in known.cached.get(device.id, frozenset()):
        return "cache", file.size_bytes
    return ("https" if file.size_bytes > MAX_ARTIFACT_BYTES else "broker"), file.size_bytes


def _know(session: Session, version: Version, devices: Sequence[Device]) -> _Known:
    rows = session.exec(
        select(VariantRow, Version)
        .join(Version, col(Version.id) == col(VariantRow.version_id))
        .where(Version.model == version.model)
    ).all()
    running: dict[tuple[int, str, str], str] = {}
    files: dict[str, _File] = {}
    for variant, owner in rows:
        sha256 = travels_as(variant.sha256, variant.encrypted_sha256, is_encrypted=owner.is_encrypted)
        if sha256 is None:
            continue
        running[owner.number, variant.target, variant.sha256] = sha256
        if owner.id == version.id:
            files[variant.target] = _File(variant.sha256, sha256, variant.travelling_bytes)
    results = [one.sha256 for one in files.values()]
    made = select(Delta).where(col(Delta.result_sha256).in_(results), Delta.state == "made")
    deltas = {
        (row.base_sha256, row.result_sha256): row.encrypted_size_bytes or row.size_bytes or 0
        for row in session.exec(made).all()
    }
    return _Known(files, version.manifest_size_bytes or 0, running, deltas, _cached(session, version.model, devices))


def _cached(session: Session, model: str, devices: Sequence[Device]) -> dict[str, frozenset[str]]:
    """Return what the caches of these devices' sites report of the model; of a cache itself nothing."""
    placed = select(SiteDevice.device_id, Site.cache_id).join(Site, col(Site.name) == col(SiteDevice.site))
    caches = dict(session.exec(placed.where(col(SiteDevice.device_id).in_([one.id for one in devices]))).all())
    rows = session.exec(select(Device).where(col(Device.id).in_(set(caches.values())))).all()
    held = {row.id: frozenset(slot["sha256"] for slot in _slots(row, model)) for row in rows}
    return {one: held.get(cache, frozenset()) for one, cache in caches.items() if one != cache}


def _slots(device: Device, model: str) -> list[dict[str, Any]]:
    """Return the slots of a model from which a device serves, or could."""
    report = (device.reported or {}).get("models", {}).get(model) or {}
    return [report[role] for role in ("active", "previous") if report.get(role)]


def _spent(session: Session, devices: Sequence[Device], now: datetime) -> dict[str, int]:
    wanted = select(MonthLedger).where(
        col(MonthLedger.device_id).in_([one.id for one in devices]), MonthLedger.month == month_of(now)
    )
    return {row.device_id: uplink_bytes(account_of(row).total) for row in session.exec(wanted).all()}


def _broker_bytes(sha256: str, size_bytes: int) -> int:
    return artifact_cost(sha256, size_bytes, chunk_bytes_for(size_bytes)).total_bytes
