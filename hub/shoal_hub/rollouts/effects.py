"""Carries out what a step of a rollout has follow: intents, leases and records, for many devices at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from sqlmodel import Session

from shoal_contract.desired import DesiredModel
from shoal_hub.devices.intents import drop_intents, replace_intents
from shoal_hub.events.record import Happening, record_events
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.views import DropIntent, DropLeases, Effect, Record, RolloutView, SetIntent, TakeLease
from shoal_hub.transfer.leases import drop_leases, take_leases
from shoal_hub.transfer.needs import model_artifacts

_KINDS: Final[tuple[Literal["rollout", "rollback"], ...]] = ("rollout", "rollback")


def carry_out(session: Session, rollout: RolloutView, effects: Sequence[Effect], now: datetime) -> None:
    """Carry out effects inside the session's transaction; of several intents for one device the last one counts."""
    owner = owner_of(rollout.id)
    last = {one.device_id: one for one in effects if isinstance(one, SetIntent | DropIntent)}
    wanted = [one for one in last.values() if isinstance(one, SetIntent)]
    _take(session, rollout, (one.body for one in effects if isinstance(one, TakeLease)), now)
    for kind in _KINDS:
        bodies = {one.device_id: one.body for one in wanted if one.kind == kind}
        if bodies:
            replace_intents(session, rollout.section, kind=kind, owner=owner, bodies=bodies, replaces=_KINDS, now=now)
    for one in last.values():
        if isinstance(one, DropIntent):
            drop_intents(session, one.device_id, section=rollout.section, owner=owner)
    if any(isinstance(one, DropLeases) for one in effects):
        drop_leases(session, owner)
    told = (one for one in effects if isinstance(one, Record))
    record_events(session, [Happening(one.kind, one.message, owner, one.severity, one.device_id) for one in told], now)


def _take(session: Session, rollout: RolloutView, bodies: Iterable[DesiredModel], now: datetime) -> None:
    """Lease what devices need for these bodies; a fleet needs few different things."""
    different = {(body.version, body.target, body.manifest.sha256): body for body in bodies}
    artifacts = {one for body in different.values() for one in model_artifacts(session, rollout.model, body)}
    if artifacts:
        take_leases(session, owner_of(rollout.id), sorted(artifacts), now)
