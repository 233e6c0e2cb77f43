"""Desired states: composed, numbered, signed and kept. The controller publishes what this keeps.

The generation rises only when the content differs, or when a device knows a later one than this hub, which was then
restored from a backup; a state is signed again at half of its life under the same one.
"""

import dataclasses
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Integer, String, and_, bindparam, insert, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, update

from shoal_contract.desired import DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_contract.limits import MAX_ENVELOPE_BYTES
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import UtcDateTime, announce, as_texts, is_among
from shoal_hub.devices.compose import Composition, compose
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.intents import intents_of_each, mark_all_stale
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.devices.wrapped_keys import encrypted_versions, give_keys
from shoal_hub.errors import ConflictError
from shoal_hub.registry.encrypt import VersionRef
from shoal_hub.traffic.limits import limits_by_device, with_limits
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
    session.exec(delete(StaleDesired).where(col(StaleDesired.device_id) == device_id))
    return bool(refresh_states(session, director, version_keys, [device_id], now, life))


def refresh_states(
    session: Session,
    director: Director,
    version_keys: VersionKeys,
    device_ids: Sequence[str],
    now: datetime,
    life: timedelta,
) -> list[str]:
    """Compose the desired states of many devices as `refresh_desired` does for one, with a few statements for all.

    The marks that they are stale have been taken away before, by `take_marks`; whatever one of the states raises ends
    all of them.

    Returns:
        The devices with a new envelope to publish.
    """
    found = _KNOWN.rows(session, ids=as_texts(device_ids))
    reported = {device_id: (epoch, number) for device_id, _, epoch, number in found}
    limits = limits_by_device(session, {device_id: group for device_id, group, _, _ in found})
    rows = _standing(session, reported)
    encrypted = encrypted_versions(session)
    signed: list[dict[str, Any]] = []
    noted: list[dict[str, Any]] = []
    for device_id, intents in intents_of_each(session, list(reported)).items():
        composition = compose(intents, now)
        if encrypted:
            composition = _with_keys(session, version_keys, device_id, composition, encrypted, now)
        config = with_limits(composition.config, limits[device_id])
        if config is not composition.config:
            composition = dataclasses.replace(composition, config=config)
        row = rows.get(device_id)
        generation = _next_generation(row, composition, reported[device_id], director.epoch, now, life)
        if generation is not None:
            signed.append(_sign(device_id, composition, director, generation, now, life))
        elif row is not None and row.conflicts != (conflicts := _conflicts(composition)):
            noted.append({"device_id": device_id, "conflicts": conflicts})
    _keep(session, signed, noted, rows.keys())
    if signed:
        announce(session, "devices")
    return [one["device_id"] for one in signed]


class _Standing(NamedTuple):
    """What of the state that stands decides whether another one takes its place."""

    device_id: str
    epoch: int
    generation: int
    content_sha256: str
    issued_at: datetime
    conflicts: list[dict[str, Any]]


def _standing(session: Session, device_ids: Iterable[str]) -> dict[str, _Standing]:
    return {row[0]: _Standing(*row) for row in _STANDING.rows(session, ids=as_texts(device_ids))}


_AMONG: Final = bindparam("ids", type_=String())
_KNOWN: Final = Query(  # what is revoked may read nothing
    select_columns(
        col(Device.id), col(Device.group), col(Device.reported_epoch), col(Device.reported_generation)
    ).where(is_among(col(Device.id), _AMONG), col(Device.revoked_at).is_(None))
)
_STANDING: Final = Query(
    select_columns(*(getattr(DesiredRow, name) for name in _Standing._fields)).where(
        is_among(col(DesiredRow.device_id), _AMONG)
    )
)


def _sign(
    device_id: str, composition: Composition, director: Director, generation: int, now: datetime, life: timedelta
) -> dict[str, Any]:
    """Return the values of a device's row with a state that was signed now.

    Raises:
        ConflictError: It is larger than a device takes.
    """
    state = DesiredState(
        device_id=device_id,
        epoch=director.epoch,
        generation=generation,
        issued_at=now,
        expires_at=now + life,
        models=composition.models,
        federated=composition.federated,
        trials=composition.trials,
        config=composition.config,
        site=composition.site,
        features=composition.features,
        compositions=composition.compositions or None,
        captures=composition.captures,
        batches=composition.batches or None,
        benchmarks=composition.benchmarks or None,
    )
    envelope = director.sign(state.to_bytes(), DESIRED_STATE_TYPE)
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise ConflictError(
            f"signing the desired state of {device_id}: it takes {len(envelope)} bytes, a device takes at most "
            f"{MAX_ENVELOPE_BYTES}",
            "want less of the device: fewer batch jobs, features, compositions or models",
        )
    return {
        "device_id": device_id,
        "epoch": state.epoch,
        "generation": generation,
        "content_sha256": composition.content_sha256,
        "envelope": envelope,
        "issued_at": now,
        "expires_at": state.expires_at,
        "conflicts": _conflicts(composition),
    }


def _keep(
    session: Session,
    signed: Sequence[dict[str, Any]],
    noted: Sequence[dict[str, Any]],
    standing: Collection[str],
) -> None:
    """Write the rows of states that were signed, and of those that stand and leave out something else than before."""
    session.flush()
    _FIRST.execute(session, [one for one in signed if one["device_id"] not in standing])
    for statement, rows in ((_SIGNED, signed), (_NOTED, noted)):
        values = [{f"new_{name}": one[name] for name in one} for one in rows if one["device_id"] in standing]
        statement.execute(session, values)
    for row in list(session.identity_map.values()):
        if isinstance(row, DesiredRow):
            session.expire(row)


def _update(*names: str) -> Bulk:
    statement = update(DesiredRow).where(col(DesiredRow.device_id) == bindparam("new_device_id"))
    return Bulk(statement.values({name: bindparam(f"new_{name}") for name in names}))


_CHANGING: Final = ("epoch", "generation", "content_sha256", "envelope", "issued_at", "expires_at", "conflicts")
_FIRST: Final = Bulk(insert(DesiredRow).values({name: bindparam(name) for name in ("device_id", *_CHANGING)}))
_SIGNED: Final = _update(*_CHANGING)
_NOTED: Final = _update("conflicts")


def _conflicts(composition: Composition) -> list[dict[str, Any]]:
    return [dataclasses.asdict(conflict) for conflict in composition.conflicts]


def take_marks(session: Session, device_ids: Sequence[str]) -> list[str]:
    """Take away the marks that these devices' states are stale; return the devices whose mark was free to be taken.

    A mark that another transaction holds just now stays, and is seen again when that one has committed: to wait for
    it, with many marks in hand, could be to wait for one who waits for us.
    """
    session.flush()  # they are taken by column
    taken = [device_id for (device_id,) in _FREE.rows(session, ids=as_texts(device_ids))]
    session.connection().execute(_TAKE, {"ids": as_texts(taken)})
    return taken


_MARKED: Final = Query(select_columns(col(StaleDesired.device_id)).limit(bindparam("most", type_=Integer())))
_OF_THESE: Final = is_among(col(StaleDesired.device_id), _AMONG)
_FREE: Final = Query(select_columns(col(StaleDesired.device_id)).where(_OF_THESE).with_for_update(skip_locked=True))
_TAKE: Final = delete(StaleDesired).where(_OF_THESE)


def _with_keys(
    session: Session,
    keys: VersionKeys,
    device_id: str,
    composition: Composition,
    encrypted: Mapping[tuple[str, int], VersionRef],
    now: datetime,
) -> Composition:
    """Return what a device is to serve and to try, that of encrypted versions with the version's key for it."""
    models = give_keys(session, keys, device_id, composition.models, encrypted, now)
    candidates = {model: trial.candidate for model, trial in composition.trials.items()}
    given = give_keys(session, keys, device_id, candidates, encrypted, now)
    trials = {model: one.model_copy(update={"candidate": given[model]}) for model, one in composition.trials.items()}
    return dataclasses.replace(composition, models=models, trials=trials)


def stale_devices(session: Session, limit: int) -> list[str]:
    """Return devices whose intents have changed since their desired state was composed."""
    return [device_id for (device_id,) in _MARKED.rows(session, most=limit)]


def new_devices(session: Session) -> set[str]:
    """Return devices that have no desired state yet."""
    session.flush()  # they are read by column
    return {device_id for (device_id,) in _NEW.rows(session)}


class OutOfStep(NamedTuple):
    """Devices that do not report the state that stands.

    Attributes:
        to_compose: They have none yet, or report a later one and would refuse this as old.
        behind: They are online and report an earlier one.
    """

    to_compose: set[str]
    behind: list[str]


def out_of_step(session: Session) -> OutOfStep:
    """Return devices that do not report the state that stands, by one pass through all of them."""
    session.flush()  # they are read by column
    found = OutOfStep(set(), [])
    for device_id, is_to_compose in _OUT_OF_STEP.rows(session):
        if is_to_compose:
            found.to_compose.add(device_id)
        else:
            found.behind.append(device_id)
    return found


def due_devices(session: Session, now: datetime, life: timedelta) -> set[str]:
    """Return devices with an intent that has ended or a state half through its life."""
    session.flush()  # they are read by column
    half_used = _HALF_USED.rows(session, before=now - life / 2)
    old = {device_id for device_id, at in half_used if is_due(device_id, at, now, life)}
    return old | {device_id for (device_id,) in _ENDED.rows(session, now=now)}


_STANDS: Final = col(DesiredRow.device_id) == col(Device.id)
_IS_NEW: Final = and_(col(DesiredRow.device_id).is_(None), col(Device.revoked_at).is_(None))
_NEW: Final = Query(select_columns(col(Device.id)).outerjoin(DesiredRow, _STANDS).where(_IS_NEW))
_IS_SAME_EPOCH: Final = col(Device.reported_epoch) == col(DesiredRow.epoch)
_IS_TO_COMPOSE: Final = or_(_IS_NEW, and_(_IS_SAME_EPOCH, col(Device.reported_generation) > col(DesiredRow.generation)))
_IS_BEHIND: Final = and_(
    col(Device.presence) == "online",
    or_(
        col(Device.reported_epoch) < col(DesiredRow.epoch),
        and_(_IS_SAME_EPOCH, col(Device.reported_generation) < col(DesiredRow.generation)),
    ),
)
_OUT_OF_STEP: Final = Query(
    select_columns(col(Device.id), _IS_TO_COMPOSE).outerjoin(DesiredRow, _STANDS).where(or_(_IS_TO_COMPOSE, _IS_BEHIND))
)
_ENDED: Final = Query(
    select_columns(col(Intent.device_id)).where(col(Intent.until) <= bindparam("now", type_=UtcDateTime())).distinct()
)
_HALF_USED: Final = Query(
    select_columns(col(DesiredRow.device_id), col(DesiredRow.issued_at))
    .join(Device, _STANDS)
    .where(
        col(DesiredRow.issued_at) < bindparam("before", type_=UtcDateTime()),
        col(Device.revoked_at).is_(None),
    )
)


def mark_due(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Have these devices' states composed again, without the intents that have ended."""
    mark_all_stale(session, list(device_ids))
    session.exec(delete(Intent).where(col(Intent.until) <= now))


def is_due(device_id: str, issued_at: datetime, now: datetime, life: timedelta) -> bool:
    """Whether a state is past half of its life, plus up to a tenth by device: a fleet is not signed all at once."""
    share = zlib.crc32(device_id.encode()) % _SPREAD / _SPREAD
    return now > issued_at + life / 2 + share * life / 10


def _next_generation(
    row: _Standing | None,
    composition: Composition,
    reported: tuple[int, int],
    epoch: int,
    now: datetime,
    life: timedelta,
) -> int | None:
    """Return the number of the state to sign, None where the one that stands will do.

    A new number is above every earlier one, also of a hub that was restored from an older backup. Only those of the
    same epoch count: what an attacker has signed with an earlier key binds nobody.
    """
    known = reported[1] if reported[0] == epoch else 0
    if row is not None and row.epoch == epoch:
        is_overtaken = known > row.generation
        if not is_overtaken and row.content_sha256 == composition.content_sha256:
            return row.generation if is_due(row.device_id, row.issued_at, now, life) else None
        known = max(known, row.generation)
    return max(known + 1, int(now.timestamp() * 1000))
