"""Hands batch jobs out, and takes them back."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select, update

from shoal_contract.batch_jobs import MAX_BATCHES, DesiredBatch
from shoal_contract.limits import MAX_BATCH_BYTES
from shoal_hub.batches.tables import Batch, BatchDevice
from shoal_hub.database import announce
from shoal_hub.devices.compose import BATCHES
from shoal_hub.devices.groups import find_group, member_ids
from shoal_hub.devices.intents import drop_intents_of, replace_intents
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.registry.versions import find_version

MAX_DEVICES: Final = 10_000
"""Of one job."""
GRACE: Final = timedelta(days=7)
"""After its deadline a job stays wanted for so long: a device that was off says what came of it, and sends answers."""


def find_batch(session: Session, name: str, *, is_locked: bool = False) -> Batch:
    """Return a job by name.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(Batch).where(Batch.name == name)
    found = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if found is None:
        raise NotFoundError(f"no batch job {name}", "list them: shoal batch list")
    return found


@dataclass(frozen=True)
class Chosen:
    """Who does a job: the devices that are in groups now, and others by themselves."""

    groups: Collection[str]
    devices: Collection[str]


def hand_out(session: Session, name: str, body: DesiredBatch, who: Chosen, *, by: str, now: datetime) -> Batch:
    """Have the devices that are in groups now, and others by themselves, do a job.

    Raises:
        NotFoundError: There is no such model, version, group or device.
        InvalidInputError: The deadline has passed, it has no room in a state, or there are no devices, or too many.
        ConflictError: The name was given before, a device was revoked, or has as many jobs as it takes.
    """
    find_version(session, body.model, str(body.version) if body.version is not None else "latest")
    if body.deadline_at <= now:
        raise InvalidInputError(f"handing out {name}: its deadline {body.deadline_at} has passed", "give a later one")
    if (size := len(body.model_dump_json().encode())) > MAX_BATCH_BYTES:
        raise InvalidInputError(
            f"handing out {name}: it takes {size} bytes, at most {MAX_BATCH_BYTES} have room in a state",
            "keep fewer columns, or shorten their names in the files",
        )
    chosen = _devices(session, name, who, now)
    row = Batch(
        name=name, body=body.model_dump(mode="json"), created_by=by, created_at=now, deadline_at=body.deadline_at
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(
            f"there was a batch job {name} already, whose answers devices may keep", "choose another name"
        ) from error
    session.add_all(BatchDevice(batch=name, device_id=one) for one in chosen)
    bodies = dict.fromkeys(chosen, body)
    until = body.deadline_at + GRACE
    section, owner = f"{BATCHES}{name}", owner_of(name)
    replace_intents(session, section, kind="default", owner=owner, bodies=bodies, replaces=(), now=now, until=until)
    _record(session, "batch_created", f"batch job {name} handed out to {len(chosen)} devices by {by}", name)
    return row


def cancel(session: Session, name: str, *, by: str, now: datetime) -> Batch:
    """Take a job back: devices at it stop; what they have answered stays there. Asked again, it changes nothing.

    Raises:
        NotFoundError: There is none.
    """
    row = find_batch(session, name, is_locked=True)
    if row.cancelled_at is None:
        row.cancelled_at, row.cancelled_by = now, by
        session.add(row)
        is_open = col(BatchDevice.batch) == name, col(BatchDevice.outcome) == "open"
        session.exec(update(BatchDevice).where(*is_open).values(outcome="cancelled", ended_at=now))
        drop_intents_of(session, owner_of(name))
        _record(session, "batch_cancelled", f"batch job {name} cancelled by {by}", name)
    return row


def owner_of(name: str) -> str:
    """Return under whose name a job's intents stand."""
    return f"batch/{name}"


def _devices(session: Session, name: str, who: Chosen, now: datetime) -> list[str]:
    chosen = set(who.devices)
    for group in who.groups:
        chosen |= set(member_ids(session, find_group(session, group), now))
    if not 0 < len(chosen) <= MAX_DEVICES:
        raise InvalidInputError(
            f"handing out {name}: {len(chosen)} devices found, expected 1 to {MAX_DEVICES}", "name groups or devices"
        )
    found = session.exec(select(Device.id, Device.revoked_at).where(col(Device.id).in_(chosen))).all()
    known = dict(found)
    if missing := sorted(chosen - known.keys()):
        raise NotFoundError(f"handing out {name}: no device {missing[0]}", "list them: shoal devices list")
    if revoked := sorted(one for one, at in known.items() if at is not None):
        raise ConflictError(f"handing out {name}: {revoked[0]} was revoked, and can be told nothing", "leave it out")
    _require_room(session, name, chosen)
    return sorted(chosen)


def _require_room(session: Session, name: str, chosen: Collection[str]) -> None:
    jobs = select(Intent.device_id).where(col(Intent.section).startswith(BATCHES), col(Intent.device_id).in_(chosen))
    counts: dict[str, int] = {}
    for device_id in session.exec(jobs):
        counts[device_id] = counts.get(device_id, 0) + 1
    if full := sorted(one for one, count in counts.items() if count >= MAX_BATCHES):
        raise ConflictError(
            f"handing out {name}: {full[0]} has {counts[full[0]]} jobs, which is the most",
            "cancel some that have ended: shoal batch cancel",
        )


def _record(session: Session, kind: str, text: str, name: str) -> None:
    record_event(session, kind, text, subject=f"batch/{name}")
    announce(session, "batches")
