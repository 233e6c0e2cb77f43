"""What a version is going to take of each device's uplink, before a rollout starts, by what the hub knows of it.

The file travels as a delta from what runs there, or as a whole; it comes from the site's cache where that has it by
then, over HTTPS where the broker has no room for it. The same formulas count the bytes as on the device. What turns
out otherwise costs more: a device that has lost its file, a cache that is away.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from sqlmodel import Session, col, select

from shoal_contract.ledger import month_of, next_month, uplink_bytes
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import chunk_bytes_for
from shoal_contract.wire_bytes import artifact_cost, ranges_cost
from shoal_hub.database import in_parts
from shoal_hub.devices.matching import load_devices
from shoal_hub.registry.encrypt import travelling_size, travels_as
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_variants
from shoal_hub.sites.tables import Site, SiteDevice
from shoal_hub.traffic.limits import limits_by_device
from shoal_hub.traffic.tables import MonthLedger
from shoal_hub.traffic.take import account_of
from shoal_hub.transfer.deltas import running_files
from shoal_hub.transfer.publishing import without_room
from shoal_hub.transfer.tables import Delta

Way = Literal["none", "cache", "delta", "delta_to_come", "broker", "https"]
"""How the file comes: it is there already or there is none, from the LAN, as a delta, as a whole unless a delta is made
in time, or as a whole over MQTT or HTTPS."""
_KEPT_COSTS: Final = 1024
"""Files whose cost is kept: it is counted chunk by chunk, and a fleet fetches a few files."""


class Receiver(NamedTuple):
    """A device that is to get a version.

    Attributes:
        device_id: The device.
        target: The variant that it takes; empty if it takes none.
        reported: Its reported state, as JSON.
        wave: When it is told, as against the others.
    """

    device_id: str
    target: str
    reported: Mapping[str, Any]
    wave: int = 0


class Forecast(NamedTuple):
    """What one device is going to fetch.

    Attributes:
        way: How the file comes.
        sha256: Of what travels, or of the plain file where nothing does; None for a device that takes none.
        file_bytes: What travels of the file, without what MQTT, TLS, TCP and IP add.
        uplink_bytes: What the uplink carries for it, both directions, with the manifest.
    """

    way: Way = "none"
    sha256: str | None = None
    file_bytes: int = 0
    uplink_bytes: int = 0


@dataclass(frozen=True)
class Budget:
    """A device's month.

    Attributes:
        limit_bytes: What it may take in a month.
        left_bytes: What is left of this one, by what the device has told.
    """

    limit_bytes: int
    left_bytes: int

    def holds(self, needed_bytes: int) -> bool:
        """Whether so much has to wait, unless it is urgent."""
        return needed_bytes > self.left_bytes

    def until(self, needed_bytes: int, now: datetime) -> datetime | None:
        """Return when so much may go: now, with the next month, or None where no month has room for it."""
        if not self.holds(needed_bytes):
            return now
        return next_month(month_of(now)) if needed_bytes <= self.limit_bytes else None


class _File(NamedTuple):
    """A variant's file: the plain hash, by which devices report it, and what travels of it."""

    plain_sha256: str
    sha256: str
    size_bytes: int


class _Delta(NamedTuple):
    """A delta that is made, or is being made."""

    sha256: str
    size_bytes: int
    is_made: bool


class _Known(NamedTuple):
    """What the hub knows, of all devices at once."""

    model: str
    files: Mapping[str, _File]
    manifest_cost_bytes: int
    running: Mapping[tuple[int, str, str], str]
    """What travels of the model's files, by number, target and plain hash."""
    deltas: Mapping[tuple[str, str], _Delta]
    without_room: Collection[str]
    """What is leased and has no room at the broker."""
    cached: Mapping[str, frozenset[str]]
    """Plain hashes that the cache of a device's site has of the model when the device is told."""


def forecast_bytes(
    session: Session, version: Version, receivers: Sequence[Receiver], *, retained_budget_bytes: int | None = None
) -> list[Forecast]:
    """Return what these devices are going to fetch to run a version, in their order.

    Args:
        session: An open session; nothing is changed.
        version: The version, with its manifest made.
        receivers: The devices.
        retained_budget_bytes: What may stand at the broker; None: all of it.
    """
    known = _know(session, version, receivers, retained_budget_bytes)
    return [_forecast(known, one) for one in receivers]


def budgets_of(session: Session, homes: Mapping[str, str], now: datetime) -> dict[str, Budget]:
    """Return the monthly budgets of those of these devices that have one.

    Args:
        session: An open session.
        homes: The devices, with the group that each is at home in; empty for none.
        now: The clock.
    """
    limits = limits_by_device(session, homes)
    budgets = {one: held.max_bytes_per_month for one, held in limits.items() if held.max_bytes_per_month is not None}
    spent: dict[str, int] = {}
    for part in in_parts(budgets):
        wanted = select(MonthLedger).where(col(MonthLedger.device_id).in_(part), MonthLedger.month == month_of(now))
        spent |= {row.device_id: uplink_bytes(account_of(row).total) for row in session.exec(wanted)}
    return {one: Budget(limit, max(0, limit - spent.get(one, 0))) for one, limit in budgets.items()}


def _forecast(known: _Known, receiver: Receiver) -> Forecast:
    file = known.files.get(receiver.target)
    if file is None:
        return Forecast()
    way, sha256, size_bytes = _way(known, receiver, file)
    cost_bytes = known.manifest_cost_bytes
    if way == "https":
        cost_bytes += _https_bytes(size_bytes)
    elif way not in {"none", "cache"}:
        cost_bytes += _broker_bytes(sha256, size_bytes)
    return Forecast(way, sha256, size_bytes, cost_bytes)


def _way(known: _Known, receiver: Receiver, file: _File) -> tuple[Way, str, int]:
    """Return how the file comes, and what travels of it."""
    slots = _slots(receiver.reported, known.model)
    if any(slot["sha256"] == file.plain_sha256 for slot in slots.values()):
        return "none", file.plain_sha256, 0
    deltas = _deltas_from(known, slots, file) if known.deltas else []
    made = [one for one in deltas if one.is_made]
    if made and (best := min(made, key=lambda one: one.size_bytes)).size_bytes < file.size_bytes:
        return "delta", best.sha256, best.size_bytes
    if file.plain_sha256 in known.cached.get(receiver.device_id, ()):
        return "cache", file.sha256, file.size_bytes
    if len(made) < len(deltas):
        return "delta_to_come", file.sha256, file.size_bytes
    has_room = file.size_bytes <= MAX_ARTIFACT_BYTES and file.sha256 not in known.without_room
    return ("broker" if has_room else "https"), file.sha256, file.size_bytes


def _deltas_from(known: _Known, slots: Mapping[str, Mapping[str, Any]], file: _File) -> list[_Delta]:
    """Return the deltas to a file from what a device serves, or has served before."""
    bases = [known.running.get(_key(slots[role])) for role in ("active", "previous") if role in slots]
    return [known.deltas[base, file.sha256] for base in bases if base and (base, file.sha256) in known.deltas]


def _know(session: Session, version: Version, receivers: Sequence[Receiver], budget_bytes: int | None) -> _Known:
    files = {
        row.target: _File(
            row.sha256,
            travels_as(row.sha256, row.encrypted_sha256, is_encrypted=version.is_encrypted) or row.sha256,
            travelling_size(row, is_encrypted=version.is_encrypted),
        )
        for row in find_variants(session, version)
    }
    no_room = frozenset[str]() if budget_bytes is None else without_room(session, budget_bytes)
    results = [one.sha256 for one in files.values()]
    rows = session.exec(select(Delta).where(col(Delta.result_sha256).in_(results))).all()
    found = {(row.base_sha256, row.result_sha256): _delta(row) for row in rows}
    manifest_sha256, manifest_bytes = version.manifest_sha256 or "", version.manifest_size_bytes or 0
    return _Known(
        model=version.model,
        files=files,
        manifest_cost_bytes=_broker_bytes(manifest_sha256, manifest_bytes) if manifest_bytes else 0,
        running=running_files(session, version.model),
        deltas={pair: one for pair, one in found.items() if one is not None and one.sha256 not in no_room},
        without_room=no_room,
        cached=_cached(session, version.model, files, receivers),
    )


def _delta(row: Delta) -> _Delta | None:
    if row.state == "making":
        return _Delta("", 0, is_made=False)
    if row.ref is None or row.artifact_sha256 is None:
        return None
    return _Delta(row.artifact_sha256, row.encrypted_size_bytes or row.size_bytes or 0, is_made=True)


def _cached(
    session: Session, model: str, files: Mapping[str, _File], receivers: Sequence[Receiver]
) -> dict[str, frozenset[str]]:
    """Return what the caches of these devices' sites have of the model by their waves; of a cache itself nothing."""
    placed = select(SiteDevice.device_id, Site.cache_id).join(Site, col(Site.name) == col(SiteDevice.site))
    by_id = {one.device_id: one for one in receivers}
    caches = {one: cache for one, cache in session.exec(placed) if one in by_id and cache != one}
    rows = load_devices(session, sorted(set(caches.values())))
    held = {row.id: {slot["sha256"] for slot in _slots(row.reported or {}, model).values()} for row in rows}

    def has(cache: str, wave: int) -> frozenset[str]:
        receiver = by_id.get(cache)
        coming = files.get(receiver.target) if receiver is not None and receiver.wave < wave else None
        return frozenset(held.get(cache, set()) | ({coming.plain_sha256} if coming is not None else set()))

    return {one: has(cache, by_id[one].wave) for one, cache in caches.items()}


def _slots(reported: Mapping[str, Any], model: str) -> dict[str, Mapping[str, Any]]:
    """Return what a device holds of a model, by role."""
    report = reported.get("models", {}).get(model)
    return {role: report[role] for role in ("active", "previous", "candidate") if report.get(role)} if report else {}


def _key(slot: Mapping[str, Any]) -> tuple[int, str, str]:
    return slot["version"], slot["target"], slot["sha256"]


@lru_cache(_KEPT_COSTS)
def _https_bytes(size_bytes: int) -> int:
    return ranges_cost(size_bytes, chunk_bytes_for(size_bytes)).total_bytes


@lru_cache(_KEPT_COSTS)
def _broker_bytes(sha256: str, size_bytes: int) -> int:
    return artifact_cost(sha256, size_bytes, chunk_bytes_for(size_bytes)).total_bytes
