"""Late joiners: devices that come to belong to a running rollout's devices join its last wave, if its plan says so."""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, select

from shoal_hub.database import announce
from shoal_hub.devices.query import QueryError
from shoal_hub.errors import NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.pins.pin import pinned_devices
from shoal_hub.registry.tables import Version
from shoal_hub.rollouts.expect import expected_bytes
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.selection import add_late, find_candidates
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.words import counted

LOOK_EVERY_S: Final = 60.0
"""Between two looks for late joiners of one rollout: a query over a large fleet takes seconds."""

_TOLD: Final = 100
"""Devices that an event names."""


def add_late_joiners(session: Session, rollout: Rollout, now: datetime) -> int:
    """Add devices that a running rollout is for by now to its last wave, and return how many.

    They are never held back, and no gate compares them: who is, was drawn at the start. Where its group has ended,
    nobody joins any more; nor does anybody join a last wave that has ended, or has begun longer ago than one device has
    time for: the rollout, and the gate after it, could wait for one device after the other.

    Args:
        session: An open transaction.
        rollout: The rollout, locked.
        now: The clock.
    """
    plan = RolloutPlan.model_validate(rollout.plan)
    is_due = rollout.joined_at is None or abs(now - rollout.joined_at) >= timedelta(seconds=LOOK_EVERY_S)
    if plan.late_joiners != "last_wave" or rollout.state != "running" or not is_due or _is_closed(rollout, now):
        return 0
    wanted = select(Deployment.device_id).where(Deployment.rollout_id == rollout.id)
    known = set(session.exec(wanted).all())
    rollout.joined_at = now
    session.add(rollout)
    try:
        out = known | pinned_devices(session, rollout.model, now)
        late = find_candidates(session, plan, now, leave_out=out)
    except (NotFoundError, QueryError) as error:
        rollout.plan = {**rollout.plan, "late_joiners": "ignore"}  # said once; a later group of the name is another one
        _tell(session, rollout, f"nobody joins rollout {rollout.id} any more: {error.message}", "warning", [])
        return 0
    if not late:
        return 0
    last = len(rollout.waves) - 1
    wanted_version = select(Version).where(Version.model == rollout.model, Version.number == rollout.version)
    version = session.exec(wanted_version).one()
    expected = expected_bytes(session, version, plan, [(device, last) for device in late])
    add_late(session, rollout, late, last, expected)
    rollout.waves = [*rollout.waves[:-1], rollout.waves[-1] + len(late)]
    _tell(
        session,
        rollout,
        f"{counted(len(late), 'device')} {'joins' if len(late) == 1 else 'join'} the last wave of rollout {rollout.id}",
        "info",
        sorted(device.id for device in late),
    )
    announce(session, "rollouts")
    session.flush()
    return len(late)


def _is_closed(rollout: Rollout, now: datetime) -> bool:
    """Whether nobody joins the rollout's last wave any more.

    Whoever has come within the time of one device is found by the look after it.
    """
    if rollout.current_wave + 1 < len(rollout.waves):
        return False
    closes_at = (rollout.wave_started_at or rollout.created_at) + timedelta(seconds=rollout.timeout_s + LOOK_EVERY_S)
    return rollout.wave_ended_at is not None or now > closes_at


def _tell(session: Session, rollout: Rollout, text: str, severity: Severity, devices: list[str]) -> None:
    body = {"devices": devices[:_TOLD]}
    record_event(session, "rollout_joined", text, subject=owner_of(rollout.id), severity=severity, body=body)
