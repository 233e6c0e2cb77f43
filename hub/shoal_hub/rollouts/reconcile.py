"""Takes every rollout that has something open one step on: reads, has `advance` decide, keeps all at once."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.errors import ContractError
from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.bulk import Query
from shoal_hub.database import Database, announce
from shoal_hub.ids import new_ids
from shoal_hub.registry.costs import Costs, read_costs
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.advance import advance
from shoal_hub.rollouts.attempts import Change, keep_attempts, keep_audited
from shoal_hub.rollouts.delta_pairs import is_waiting_for_deltas
from shoal_hub.rollouts.effects import carry_out
from shoal_hub.rollouts.facts import read_facts
from shoal_hub.rollouts.gate import (
    Prepared,
    begin_serving,
    begin_wave,
    due_looks,
    end_watch,
    look_at_gate,
    may_look,
    prepare_look,
)
from shoal_hub.rollouts.joiners import add_late_joiners
from shoal_hub.rollouts.known import Known
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.rollouts.tally import Tally, is_at_it
from shoal_hub.rollouts.variants import rank_variants
from shoal_hub.rollouts.views import Advanced, Attempt, RolloutView
from shoal_hub.rollouts.work import count_deployments, find_work
from shoal_hub.tracing.remembered import following
from shoal_hub.transfer.leases import lease_users

log = logging.getLogger(__name__)

_PREFIX = owner_of("")
_ENDS = {"aborted": "rollouts.abort", "paused": "rollouts.pause"} | dict.fromkeys(
    ("succeeded", "rolled_back"), "rollouts.finish"
)
"""What the controller does when it takes a rollout to a state; everything else is `rollouts.advance`."""


class Pass(NamedTuple):
    """What a pass over all rollouts has left.

    Attributes:
        has_more: Whether another step may find more to do.
        has_looks: Whether further gates may have to be looked at: one is in a pass.
        at_it: How many devices are at it in the rollout that has the fewest of them; see `Step`.
    """

    has_more: bool
    has_looks: bool
    at_it: int = 0


class Step(NamedTuple):
    """What a step in one rollout has left.

    Attributes:
        has_more: Whether another step may find more to do.
        at_it: How many devices are at it, there or back, and nobody waits for one of them alone; 0 where others begin
            as they end. None for a rollout that is over: nothing of weight follows from its devices.
    """

    has_more: bool = False
    at_it: int | None = None


class _Variant(NamedTuple):
    """The columns of a variant that a choice among them is made by."""

    target: str
    size_bytes: int
    latency_p50_ms: float | None
    accuracy: float | None
    is_encrypted: bool
    """Its version, that is."""


_OPEN: Final = Query(select_columns(col(Rollout.id), may_look()).where(col(Rollout.ended_at).is_(None)))
_MEASURED: Final[list[Any]] = [getattr(VariantRow, name) for name in _Variant._fields[:-1]]
_VARIANTS: Final = Query(
    select_columns(*_MEASURED, col(Version.is_encrypted))
    .join(Version, col(Version.id) == col(VariantRow.version_id))
    .where(col(Version.model) == bindparam("of_model"), col(Version.number) == bindparam("of_number"))
)


def pass_rollouts(database: Database, now: datetime, *, looks: bool = True) -> Pass:
    """Take one step in each rollout that is not over, and then look at one gate that is due.

    A look reads what all devices of a rollout have told, which takes a while for large fleets: no other rollout, which
    may have to go back, waits for more than one.

    Args:
        database: The hub's.
        now: The clock.
        looks: Whether a gate is looked at in this pass.
    """
    with database.session() as session:
        found = _OPEN.rows(session)
        open_ids, has_gates = {one for one, _ in found}, any(is_gated for _, is_gated in found)
        leased = {user.removeprefix(_PREFIX) for user in lease_users(session) if user.startswith(_PREFIX)}
    steps = [_step_safely(database, rollout_id, now) for rollout_id in sorted(open_ids | leased)]
    has_more = any(one.has_more for one in steps)
    at_it = min((one.at_it for one in steps if one.at_it is not None), default=0)
    if not looks or not has_gates:
        return Pass(has_more, has_looks=False, at_it=at_it)
    looked = _look_once(database, now)
    return Pass(has_more or looked.has_more, looked.has_looks, at_it)


def _look_once(database: Database, now: datetime) -> Pass:
    """Look at the gate that is due for the longest, outside of the transaction that acts on it.

    Those at which there is nothing to look at yet, or whose look fails, are gone past.
    """
    with database.session() as session:
        due = due_looks(session, now)
    has_more = False
    for number, rollout_id in enumerate(due, start=1):
        look = _prepare_look(database, rollout_id, now)
        if look is None:
            continue
        has_more |= _step_safely(database, rollout_id, now, look).has_more
        if look.look is not None:
            return Pass(has_more, has_looks=number < len(due))
    return Pass(has_more, has_looks=False)


def _prepare_look(database: Database, rollout_id: str, now: datetime) -> Prepared | None:
    with database.session() as session:
        row = session.get_one(Rollout, rollout_id)
        try:
            return prepare_look(session, row, lambda: view_rollout(session, row, now), now)
        except (ContractError, ValueError):  # of this one alone
            log.exception("looking at the gate of rollout %s failed; it is tried again", rollout_id)
            return None


def _step_safely(database: Database, rollout_id: str, now: datetime, look: Prepared | None = None) -> Step:
    try:
        with database.transaction() as session, _following(session, rollout_id):
            return _step_and_record(session, rollout_id, now, look)
    except (ContractError, ValueError):  # of this one alone: the others, a rollback among them, go on
        log.exception("a step of rollout %s failed; it is tried again", rollout_id)
        return Step()


def _following(session: Session, rollout_id: str) -> AbstractContextManager[None]:
    return following(session, owner_of(rollout_id), "advance rollout", {"rollout": rollout_id})


def step_rollout(
    session: Session,
    rollout_id: str,
    now: datetime,
    *,
    abort_reason: str = "",
    look: Prepared | None = None,
    keep: Callable[[Session, Sequence[Change]], None] = keep_audited,
) -> Step:
    """Take one step in one rollout, inside the session's transaction.

    Another one may find more to do where there was more than one step takes, where the rollout itself got further, and
    where devices have made room for others. A step of devices alone leads to no other.

    Args:
        session: An open transaction; the rollout stays locked until its end.
        rollout_id: The rollout.
        now: The clock.
        abort_reason: Given, the step is to abort it.
        look: What its gate was found to say just before; it counts only if the rollout still stands as it did then.
        keep: Writes what has changed of deployments.
    """
    row = session.get_one(Rollout, rollout_id, with_for_update=True)
    return _step(session, row, now, abort_reason=abort_reason, look=look, keep=keep)


def _step(
    session: Session,
    row: Rollout,
    now: datetime,
    *,
    abort_reason: str,
    look: Prepared | None,
    keep: Callable[[Session, Sequence[Change]], None],
) -> Step:
    """Take a step in a rollout that is locked."""
    session.flush()  # deployments are read by column
    view = view_rollout(session, row, now)
    tally = count_deployments(session, row.id)
    work = find_work(session, view, tally, now, is_aborting=abort_reason != "")
    if view.plan.on_low_memory == "refuse" and not abort_reason and _may_tell_any(view, work.attempts):
        view = replace(view, costs=_costs_of(session, view))
    gate = look_at_gate(session, row, view, look, now) if not abort_reason else None
    known = Known(read_facts(session, view, work.attempts, work.devices, now), tally, gate=gate, has_more=work.has_more)
    advanced = advance(view, work.attempts, known, now, lambda: new_ids("dp", 1)[0], abort_reason=abort_reason)
    changed = [one for one in zip(work.attempts, advanced.attempts, strict=True) if one[0] != one[1]]
    keep(session, changed)
    begin_serving(
        session, row, [after.device_id for before, after in changed if after.state == "succeeded" != before.state]
    )
    is_news = any(before._replace(seen=after.seen) != after for before, after in changed)
    at_it = _at_it(advanced, tally, changed)
    if not is_news and not advanced.effects and advanced.rollout == view:
        return Step(work.has_more and bool(changed), at_it)
    _keep_rollout(session, row, advanced.rollout, now)
    if advanced.rollout.current_wave != view.current_wave:
        begin_wave(session, row, now)
    if advanced.rollout.ended_at is not None and view.ended_at is None:
        end_watch(session, row)
    carry_out(session, view, advanced.effects, now)
    announce(session, "rollouts")
    has_made_room = row.plan.get("max_in_flight") is not None
    return Step(work.has_more or has_made_room or advanced.rollout != view, at_it)


def _at_it(advanced: Advanced, tally: Tally, changed: Sequence[Change]) -> int | None:
    """Return `Step.at_it`, by counts from before these changes."""
    if advanced.rollout.ended_at is not None:
        return None
    if advanced.rollout.plan.max_in_flight is not None:
        return 0
    more = sum(is_at_it(after) - is_at_it(before) for before, after in changed)
    return tally.in_flight + tally.returning + more or None  # nobody's word is waited for


def _step_and_record(session: Session, rollout_id: str, now: datetime, look: Prepared | None) -> Step:
    """Take a step that nobody asked for: where the rollout itself gets further by it, that is audited."""
    row = session.get_one(Rollout, rollout_id, with_for_update=True)
    before = _progress(row)
    add_late_joiners(session, row, now)
    step = _step(session, row, now, abort_reason="", look=look, keep=keep_attempts)
    after = _progress(row)
    changed = [name for name in after if before[name] != after[name]]
    if changed:
        was, is_now = {name: before[name] for name in changed}, {name: after[name] for name in changed}
        action = _ENDS.get(row.state, "rollouts.advance")
        record(session, CONTROLLER, action, f"rollouts/{rollout_id}", was, is_now)
    return step


def _progress(row: Rollout) -> dict[str, Any]:
    return {"state": row.state, "waves": row.waves, "current_wave": row.current_wave, "reason": row.reason}


def view_rollout(session: Session, row: Rollout, now: datetime) -> RolloutView:
    """Return a rollout as a value, with the targets that its version has variants for."""
    found = [_Variant(*one) for one in _VARIANTS.rows(session, of_model=row.model, of_number=row.version)]
    plan = RolloutPlan.model_validate(row.plan)
    return RolloutView(
        id=row.id,
        model=row.model,
        version=row.version,
        manifest=ArtifactRef(sha256=row.manifest_sha256, size_bytes=row.manifest_size_bytes),
        targets=rank_variants(found, plan),
        is_encrypted=any(one.is_encrypted for one in found),
        is_waiting_for_deltas=is_waiting_for_deltas(session, row, now),
        state=row.state,
        wave_count=len(row.waves),
        current_wave=row.current_wave,
        max_failures=row.max_failures,
        timeout_s=row.timeout_s,
        ended_at=row.ended_at,
        reason=row.reason,
        plan=plan,
        wave_ended_at=row.wave_ended_at,
        approved_wave=row.approved_wave,
        gate_count=_gate_count(row),
        gate_passed_wave=row.gate_passed_wave,
        fired={int(number): failures for number, failures in row.fired.items()},
    )


def _gate_count(row: Rollout) -> int:
    """Return how many waves have a gate; those of rollouts from before there was one after the last wave as then."""
    if row.gate_count is not None:
        return row.gate_count
    return len(row.waves) - 1 if row.plan.get("gate") is not None else 0


def _may_tell_any(view: RolloutView, attempts: Sequence[Attempt]) -> bool:
    """Whether some of these devices may be told, and have to have the memory for it."""
    return view.state == "running" and any(one.state == "pending" for one in attempts)


def _costs_of(session: Session, view: RolloutView) -> Costs:
    """Return what the variants of a rollout's version are known to cost by now."""
    wanted = select(VariantRow).join(Version, col(Version.id) == col(VariantRow.version_id))
    return read_costs(
        session, session.exec(wanted.where(Version.model == view.model, Version.number == view.version)).all()
    )


def _keep_rollout(session: Session, row: Rollout, view: RolloutView, now: datetime) -> None:
    if view.state == "paused" and row.state != "paused":
        row.paused_at = now
    elif view.state != "paused":
        row.paused_at = None
    row.state, row.current_wave, row.ended_at, row.reason = (
        view.state,
        view.current_wave,
        view.ended_at,
        view.reason,
    )
    row.wave_ended_at, row.fired = view.wave_ended_at, {str(one): count for one, count in view.fired.items()}
    session.add(row)
