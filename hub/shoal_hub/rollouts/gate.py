"""Looks at the gate of a rollout's wave: who is compared, how often, and what is kept of each look."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from shoal_hub.database import announce
from shoal_hub.gates.decide import decide
from shoal_hub.gates.evidence import Sides, Times, before_of, collect
from shoal_hub.gates.plan import GatePlan
from shoal_hub.gates.tables import GateLook
from shoal_hub.gates.vitals import forget, watch
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.views import GateResult, RolloutView
from shoal_numerics import NumericsError

log = logging.getLogger(__name__)
_NOTHING_YET = "no device serves the new version yet"


def look_at_gate(session: Session, row: Rollout, view: RolloutView, now: datetime) -> GateResult | None:
    """Return what the gate of the current wave says; None where the plan has none, or no wave follows.

    It is looked at as often as the plan says; in between the last look holds.
    """
    plan = view.plan.gate
    if plan is None or view.state not in {"running", "paused"} or view.current_wave + 1 >= view.wave_count:
        return None
    last = last_look(session, row.id, view.current_wave)
    if last is not None and last.at <= now < last.at + timedelta(seconds=plan.look_s):
        return GateResult(last.verdict, last.reason)
    canaries, controls = _sides(session, row)
    if not canaries and view.wave_ended_at is None:
        return GateResult("hold", _NOTHING_YET)
    sides = Sides(row.model, row.version, None, canaries, controls)
    try:
        look = _look(session, row, view, plan, sides, now)
    except NumericsError as error:  # of a gate that can not be read nothing follows by itself
        log.exception("looking at the gate of rollout %s", row.id)
        return GateResult("hold", f"what devices say can not be compared: {error}")
    if last is not None and (last.verdict, last.reason) == (look.verdict, look.reason):
        last.at, last.metrics = now, look.metrics
        session.add(last)
        return GateResult(last.verdict, last.reason)
    session.add(look)
    announce(session, "rollouts")
    return GateResult(look.verdict, look.reason)


def last_look(session: Session, rollout_id: str, wave: int) -> GateLook | None:
    """Return the last look at a wave's gate."""
    wanted = select(GateLook).where(GateLook.rollout_id == rollout_id, GateLook.wave == wave)
    return session.exec(wanted.order_by(col(GateLook.id).desc()).limit(1)).first()


def begin_wave(session: Session, row: Rollout, now: datetime) -> None:
    """Note that a wave begins: what is compared at its gate is counted from here on, on both sides."""
    row.wave_started_at = now
    session.add(row)
    if _watches_vitals(row):
        watch(session, row.id, _devices(session, row.id))


def begin_serving(session: Session, row: Rollout, device_ids: Sequence[str]) -> None:
    """Note that devices serve the new version from now on: their vital signs before this are of the old one."""
    if device_ids and _watches_vitals(row):
        watch(session, row.id, device_ids)


def end_watch(session: Session, row: Rollout) -> None:
    """Watch the devices' vital signs no more: the rollout has ended."""
    forget(session, row.id)


def _look(session: Session, row: Rollout, view: RolloutView, plan: GatePlan, sides: Sides, now: datetime) -> GateLook:
    wave_at = row.wave_started_at or row.created_at
    times = Times(before_of(row.created_at, plan), row.created_at, wave_at)
    soaks_until = view.soaks_until()
    is_overdue = (
        view.state == "running" and soaks_until is not None and now >= soaks_until + timedelta(seconds=plan.max_hold_s)
    )
    evidence = collect(session, sides, times, plan, row.id)
    gates = max(1, view.wave_count - 1)
    found = decide(plan, evidence, gates=gates, wave=min(view.current_wave, gates - 1), is_overdue=is_overdue)
    return GateLook(
        rollout_id=row.id,
        wave=view.current_wave,
        at=now,
        verdict=found.verdict,
        tested=found.tested,
        reason=found.reason,
        alpha_spent=found.alpha_spent,
        metrics=found.metrics,
    )


def _sides(session: Session, row: Rollout) -> tuple[list[str], list[str]]:
    """Return who serves the new version by this rollout, and who was not told yet or is held back."""
    wanted = select(Deployment.device_id, Deployment.state).where(
        Deployment.rollout_id == row.id, col(Deployment.state).in_(("succeeded", "pending", "held_back"))
    )
    found = session.exec(wanted.order_by(Deployment.device_id)).all()
    canaries = [device_id for device_id, state in found if state == "succeeded"]
    return canaries, [device_id for device_id, state in found if state != "succeeded"]


def _devices(session: Session, rollout_id: str) -> list[str]:
    return list(session.exec(select(Deployment.device_id).where(Deployment.rollout_id == rollout_id)))


def _watches_vitals(row: Rollout) -> bool:
    found = row.plan.get("gate")
    return found is not None and GatePlan.model_validate(found).watches_vitals
