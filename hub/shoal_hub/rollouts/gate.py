"""Looks at the gate of a rollout's wave: who is compared, how often, and what is kept of each look."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, select

from shoal_hub.database import announce, is_one_of
from shoal_hub.events.record import record_event
from shoal_hub.gates.decide import ArmSizes, decide
from shoal_hub.gates.evidence import Sides, Times, before_of, collect
from shoal_hub.gates.plan import GatePlan
from shoal_hub.gates.tables import GateLook
from shoal_hub.gates.vitals import forget, watch
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Deployment, Rollout, RolloutState
from shoal_hub.rollouts.views import GateResult, RolloutView
from shoal_numerics import NumericsError

log = logging.getLogger(__name__)
_NOTHING_YET: Final = "no device serves the new version yet"
_SOON: Final = "it is looked at in a moment"
_LOOKED_AT: Final = frozenset({"running", "paused"})


class Standing(NamedTuple):
    """What of a rollout a look was made from: if it has changed meanwhile, the look says nothing."""

    state: RolloutState
    wave: int
    wave_started_at: datetime | None
    wave_ended_at: datetime | None
    last: tuple[int | None, datetime] | None
    """Id and time of the look before it."""


class _Compared(NamedTuple):
    """Who is compared now, how many serve the version, and how many may come to be compared."""

    sides: Sides
    canaries: int
    arms: ArmSizes


@dataclass(frozen=True)
class Prepared:
    """What a gate says, judged outside of the transaction that acts on it.

    Attributes:
        standing: What it was made from.
        result: What follows.
        look: What is kept of it; None where there was nothing to look at.
    """

    standing: Standing
    result: GateResult
    look: GateLook | None = None


def may_look() -> ColumnElement[bool]:
    """Return the condition of rollouts that may have a gate to be looked at."""
    is_gated = or_(col(Rollout.gate_count).is_(None), col(Rollout.gate_count) > col(Rollout.current_wave))
    return and_(is_one_of(col(Rollout.state), _LOOKED_AT), is_gated)


def windows_needed(session: Session) -> list[tuple[str, datetime]]:
    """Return, for each gate that may still be looked at, its model and from when on it reads windows."""
    found = []
    for row in session.exec(select(Rollout).where(may_look())):
        plan = row.plan.get("gate")
        if plan is not None:
            found.append((row.model, before_of(row.created_at, GatePlan.model_validate(plan))))
    return found


def due_looks(session: Session, now: datetime) -> list[str]:
    """Return the rollouts whose gate is to be looked at again, those first that were not for the longest."""
    found: list[tuple[float, str]] = []
    for row in session.exec(select(Rollout).where(may_look())):
        last = last_look(session, row.id, row.current_wave)
        try:
            plan = GatePlan.model_validate(row.plan["gate"]) if row.plan.get("gate") is not None else None
        except ValueError:  # of this one alone
            log.exception("reading the gate of rollout %s", row.id)
            continue
        if plan is not None and not _is_fresh(last, plan, now):
            found.append((last.at.timestamp() if last is not None else -inf, row.id))
    return [rollout_id for _, rollout_id in sorted(found)]


def prepare_look(session: Session, row: Rollout, view_of: Callable[[], RolloutView], now: datetime) -> Prepared | None:
    """Judge the gate of a rollout's current wave; None where it has none, or is not to be looked at yet.

    It reads the windows of all devices, so it is done before the transaction in which `look_at_gate` takes it up.

    Args:
        session: An open session; nothing is written.
        row: The rollout.
        view_of: Makes the view of the rollout, if there is something to look at.
        now: The clock.
    """
    found = row.plan.get("gate")
    if found is None:
        return None
    last = last_look(session, row.id, row.current_wave)
    if _is_fresh(last, GatePlan.model_validate(found), now):
        return None
    view = view_of()
    if view.plan.gate is None or not view.is_gated:
        return None
    standing = _standing(row, last)
    compared = _compared(session, row)
    if not compared.canaries and view.wave_ended_at is None:
        return Prepared(standing, GateResult("hold", _NOTHING_YET))
    try:
        look = _look(session, row, view, view.plan.gate, compared, now)
    except NumericsError as error:  # of a gate that can not be read nothing follows by itself
        log.exception("looking at the gate of rollout %s", row.id)
        look = _unreadable(row, view, view.plan.gate, error, now)
    return Prepared(standing, GateResult(look.verdict, look.reason), look)


def look_at_gate(
    session: Session, row: Rollout, view: RolloutView, prepared: Prepared | None, now: datetime
) -> GateResult | None:
    """Return what the gate of the current wave says, and keep the look; None where the wave has no gate.

    It is looked at as often as the plan says; in between the last look holds. A look that was prepared while the
    rollout stood otherwise is dropped, and the gate holds until the next one.
    """
    plan = view.plan.gate
    if plan is None or view.state not in _LOOKED_AT or not view.is_gated:
        return None
    last = last_look(session, row.id, view.current_wave)
    if prepared is not None and prepared.standing == _standing(row, last):
        if prepared.look is not None:
            _keep(session, prepared.look, last)
            _ask(session, row, view, prepared.look, now)
        return prepared.result
    if last is not None and _is_fresh(last, plan, now):
        return GateResult(last.verdict, last.reason)
    return GateResult("hold", _SOON, is_due=True)


def _ask(session: Session, row: Rollout, view: RolloutView, look: GateLook, now: datetime) -> None:
    """Tell operators, once a wave, that its gate waits for a person."""
    if row.asked_wave >= view.current_wave or not waits_for_person(session, view, now):
        return
    row.asked_wave = view.current_wave
    session.add(row)
    text = (
        f"rollout {row.id}: the gate of wave {view.current_wave + 1} was undecided for its time, and a person decides, "
        f"by shoal rollouts approve {row.id} or abort {row.id}: {look.reason}"
    )
    record_event(session, "gate_undecided", text, subject=owner_of(row.id), severity="warning", at=now)


def waits_for_person(session: Session, view: RolloutView, now: datetime) -> bool:
    """Whether a person decides on the current wave: its gate was undecided for its time, by the plan's rule as well."""
    overdue_at = view.gate_overdue_at()
    if view.state != "running" or overdue_at is None or now < overdue_at or view.is_gate_passed:
        return False
    last = last_look(session, view.id, view.current_wave)
    return last is not None and last.verdict == "hold" and last.at >= overdue_at


def _standing(row: Rollout, last: GateLook | None) -> Standing:
    seen = (last.id, last.at) if last is not None else None
    return Standing(row.state, row.current_wave, row.wave_started_at, row.wave_ended_at, seen)


def _is_fresh(last: GateLook | None, plan: GatePlan, now: datetime) -> bool:
    return last is not None and last.at <= now < last.at + timedelta(seconds=plan.look_s)


def _keep(session: Session, look: GateLook, last: GateLook | None) -> None:
    """Keep a look: as a row of its own where it says something else than the one before it."""
    if last is not None and (last.verdict, last.reason) == (look.verdict, look.reason):
        last.at, last.metrics = look.at, look.metrics
        session.add(last)
        return
    session.add(look)
    announce(session, "rollouts")


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


def _look(
    session: Session, row: Rollout, view: RolloutView, plan: GatePlan, compared: _Compared, now: datetime
) -> GateLook:
    wave_at = row.wave_started_at or row.created_at
    times = Times(before_of(row.created_at, plan), row.created_at, wave_at)
    overdue_at = view.gate_overdue_at()
    is_overdue = view.state == "running" and overdue_at is not None and now >= overdue_at
    evidence = collect(session, compared.sides, times, plan, row.id)
    gates, wave = view.gate_count, view.current_wave
    found = decide(plan, evidence, arms=compared.arms, gates=gates, wave=wave, is_overdue=is_overdue)
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


def _unreadable(row: Rollout, view: RolloutView, plan: GatePlan, error: NumericsError, now: datetime) -> GateLook:
    """Return the look at a gate whose evidence can not be compared: it holds, until a person decides."""
    return GateLook(
        rollout_id=row.id,
        wave=view.current_wave,
        at=now,
        verdict="hold",
        tested="not_tested",
        reason=f"what devices say can not be compared: {error}",
        alpha_spent=plan.budget(view.gate_count).spent(view.current_wave),
        metrics=[],
    )


def _compared(session: Session, row: Rollout) -> _Compared:
    """Return who serves the new version by this rollout, and who was not told yet or is held back.

    Late joiners are on neither side: nobody drew them, and what is new in the fleet may differ from the rest.
    Canaries of a wave that has not ended are all that it was drawn for: those that have the version first are few.
    """
    is_drawn = and_(col(Deployment.rollout_id) == row.id, ~col(Deployment.is_late_joiner))
    standing = (col(Deployment.state), col(Deployment.wave))
    wanted: Any = select_columns(*standing, func.count()).where(is_drawn).group_by(*standing)
    found = session.connection().execute(wanted).all()
    later = row.current_wave + 1
    canaries = sum(count for state, _, count in found if state == "succeeded")
    drawn = sum(count for state, wave, count in found if state != "held_back" and wave < later)
    left = sum(count for state, wave, count in found if state == "held_back" or (state == "pending" and wave >= later))
    of_rollout = select(Deployment.device_id).where(is_drawn)
    sides = Sides(
        row.model,
        row.version,
        against=None,
        canaries=of_rollout.where(Deployment.state == "succeeded"),
        controls=of_rollout.where(col(Deployment.state).in_(("pending", "held_back"))),
    )
    return _Compared(sides, canaries, ArmSizes(drawn if row.wave_ended_at is None else canaries, left))


def _devices(session: Session, rollout_id: str) -> list[str]:
    return list(session.exec(select(Deployment.device_id).where(Deployment.rollout_id == rollout_id)))


def _watches_vitals(row: Rollout) -> bool:
    found = row.plan.get("gate")
    return found is not None and GatePlan.model_validate(found).watches_vitals
