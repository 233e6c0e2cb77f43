"""Desired states: composed, numbered, signed and kept. The controller publishes what this keeps.

The generation rises only when the content differs, or when a device knows a later one than this hub, which was then
restored from a backup; a state is signed again at half of its life under the same one.
"""

import dataclasses
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from shoal_contract.desired import DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_hub.database import announce
from shoal_hub.devices.compose import Composition, compose
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.intents import intents_of, mark_stale
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.devices.wrapped_keys import give_keys
from shoal_hub.trust.director import Director
from shoal_hub.trust.version_keys import VersionKeys

_SPREAD: Final = 1000


def refresh_desired(
    session: Session,
    director: Director,
    version_keys: VersionKeys,
    device_id: str,
    now: datetime,
    life: timedelta,
) -> bool:
    """Compose a device's desired state, and sign it if it differs from the one that stands or is half through its life.

    Args:
        session: An open transaction.
        director: Signs.
        version_keys: Opens the keys of encrypted versions, which the device gets wrapped for itself.
        device_id: The device; the mark that its state is stale is taken away.
        now: The clock.
        life: How long the device may start to act on the state.

    Returns:
        Whether there is a new envelope to publish.
    """
    this = {"device": device_id}
    session.connection().execute(_NO_LONGER_STALE, this)
    if session.connection().execute(_REVOKED_AT, this).scalar_one() is not None:
        return False  # nobody may read it
    row = session.get(DesiredRow, device_id)
    composition = compose(intents_of(session, device_id), now)
    models = give_keys(session, version_keys, device_id, composition.models, now)
    composition = dataclasses.replace(composition, models=models)
    conflicts = [dataclasses.asdict(conflict) for conflict in composition.conflicts]
    is_overtaken = session.connection().execute(_IS_OVERTAKEN, this).first() is not None
    if row is not None and not is_overtaken and not _must_sign(row, composition, director.epoch, now, life):
        if row.conflicts != conflicts:
            row.conflicts = conflicts
            session.add(row)
        return False
    stands = row is not None and (row.epoch, row.content_sha256) == (director.epoch, composition.content_sha256)
    generation = (
        row.generation
        if row is not None and stands and not is_overtaken
        else _next_generation(session, row, device_id, director.epoch, now)
    )
    state = DesiredState(
        device_id=device_id,
        epoch=director.epoch,
        generation=generation,
        issued_at=now,
        expires_at=now + life,
        models=composition.models,
        federated=composition.federated,
        config=composition.config,
        site=composition.site,
    )
    envelope = director.sign(state.to_bytes(), DESIRED_STATE_TYPE)
    session.merge(
        DesiredRow(
            device_id=device_id,
            epoch=state.epoch,
            generation=generation,
            content_sha256=composition.content_sha256,
            envelope=envelope,
            issued_at=now,
            expires_at=state.expires_at,
            conflicts=conflicts,
        )
    )
    announce(session, "devices")
    return True


def stale_devices(session: Session, limit: int) -> list[str]:
    """Return devices whose intents have changed since their desired state was composed."""
    return list(session.exec(select(StaleDesired.device_id).limit(limit)).all())


def new_devices(session: Session) -> set[str]:
    """Return devices that have no desired state yet."""
    wanted = (
        select(Device.id)
        .outerjoin(DesiredRow, col(DesiredRow.device_id) == col(Device.id))
        .where(col(DesiredRow.device_id).is_(None), col(Device.revoked_at).is_(None))
    )
    return set(session.exec(wanted).all())


def due_devices(session: Session, now: datetime, life: timedelta) -> set[str]:
    """Return devices with an intent that has ended, a state half through its life, or a later one than the hub's."""
    ended = select(Intent.device_id).where(col(Intent.until) <= now).distinct()
    half_used = (
        select(DesiredRow.device_id, DesiredRow.issued_at)
        .join(Device, col(Device.id) == col(DesiredRow.device_id))
        .where(col(DesiredRow.issued_at) < now - life / 2, col(Device.revoked_at).is_(None))
    )
    old = {device_id for device_id, at in session.exec(half_used).all() if is_due(device_id, at, now, life)}
    return {*session.exec(ended).all(), *session.exec(_overtaken()).all(), *old}


def mark_due(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Have these devices' states composed again, without the intents that have ended."""
    for device_id in sorted(device_ids):
        mark_stale(session, device_id)
    session.exec(delete(Intent).where(col(Intent.until) <= now))


def _overtaken() -> SelectOfScalar[str]:
    """Select devices that report a later generation than the one that stands: they would refuse it as old."""
    wanted = select(Device.id).join(DesiredRow, col(DesiredRow.device_id) == col(Device.id))
    return wanted.where(
        col(Device.reported_epoch) == col(DesiredRow.epoch),
        col(Device.reported_generation) > col(DesiredRow.generation),
    )


# Built once: a rollout composes a state for each of its devices.
_NO_LONGER_STALE: Final = delete(StaleDesired).where(col(StaleDesired.device_id) == bindparam("device"))
_REVOKED_AT: Final = select(Device.revoked_at).where(col(Device.id) == bindparam("device"))
_IS_OVERTAKEN: Final = _overtaken().where(col(Device.id) == bindparam("device"))


def _must_sign(row: DesiredRow, composition: Composition, epoch: int, now: datetime, life: timedelta) -> bool:
    is_same = (row.epoch, row.content_sha256) == (epoch, composition.content_sha256)
    return not is_same or is_due(row.device_id, row.issued_at, now, life)


def is_due(device_id: str, issued_at: datetime, now: datetime, life: timedelta) -> bool:
    """Whether a state is past half of its life, plus up to a tenth by device: a fleet is not signed all at once."""
    share = zlib.crc32(device_id.encode()) % _SPREAD / _SPREAD
    return now > issued_at + life / 2 + share * life / 10


def _next_generation(session: Session, row: DesiredRow | None, device_id: str, epoch: int, now: datetime) -> int:
    """Return a generation above every earlier one, also of a hub that was restored from an older backup.

    Only those of the same epoch count: what an attacker has signed with an earlier key binds nobody.
    """
    device = session.get_one(Device, device_id)
    previous = max(
        row.generation if row is not None and row.epoch == epoch else 0,
        device.reported_generation if device.reported_epoch == epoch else 0,
    )
    return max(previous + 1, int(now.timestamp() * 1000))
