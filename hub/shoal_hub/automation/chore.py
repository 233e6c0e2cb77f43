"""Drives runs and looks at policies: one chore of the controller.

Each move of a run is a transaction of its own: what it begins is written with the note that it has begun. A process
that is killed at any point finds the run where the last transaction left it.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, delete, select

from shoal_contract.errors import ContractError
from shoal_hub.alerts.notify import notify
from shoal_hub.alerts.tallies import WindowTallies
from shoal_hub.automation.begin import Doing, actor_name, begin
from shoal_hub.automation.decide import Decision, decide
from shoal_hub.automation.machine import (
    OPEN,
    Advance,
    AskApproval,
    BeginStep,
    EndStep,
    StepFacts,
    TellEnd,
    advance,
    fail_to_begin,
)
from shoal_hub.automation.model_facts import past_runs, read_facts
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.reasons import why_step
from shoal_hub.automation.runs import (
    approvals_of,
    begin_run,
    content_hash,
    count_approvals,
    find_run,
    policy_of,
    save_run,
    steps_of,
    view_run,
)
from shoal_hub.automation.step_facts import end_step, read_step
from shoal_hub.automation.tables import AutomationRun, AutomationStep, DecisionRow, PolicyRow
from shoal_hub.bulk import Query
from shoal_hub.context import HubContext
from shoal_hub.controller.election import FencedError
from shoal_hub.database import is_one_of
from shoal_hub.errors import HubError

log = logging.getLogger(__name__)

MAX_MOVES: Final = 20
"""Of one run in one turn of the controller."""
MAX_DECISIONS: Final = 500
"""Kept of one policy; the oldest make room."""
_REST_RATIO: Final = 20.0
"""Times the CPU of a look that passes until the next one."""
_LONGEST_REST_S: Final = 300.0
_NOTE_EVERY: Final = timedelta(minutes=1)
_OPEN_RUNS: Final = Query(select_columns(col(AutomationRun.id)).where(is_one_of(col(AutomationRun.state), OPEN)))


class StepError(HubError):
    """A step could not begin; nothing of it was kept."""

    code = "step"

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


class Automation:
    """Moves runs on and begins new ones.

    Args:
        hub: The controller's parts.
        every_s: Between two looks at policies at least; runs are moved on at each turn.
        clock: Seconds that only go forward.
        cpu_clock: Seconds of CPU that this thread has taken.
    """

    def __init__(
        self,
        hub: HubContext,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._hub = hub
        self._database = hub.database
        self._every_s = every_s
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._tallies = WindowTallies()
        self._looked_s: float | None = None
        self._rest_s = every_s

    def step(self, now: datetime) -> int:
        """Move runs on, look at policies if it is time to, and return how many moves that made."""
        moves = self._drive(now)
        at_s = self._clock()
        if self._looked_s is not None and at_s - self._looked_s < self._rest_s:
            return moves
        self._looked_s, began_s = at_s, self._cpu_clock()
        begun = self.look(now)
        took_s = self._cpu_clock() - began_s
        self._rest_s = max(self._every_s, min(_REST_RATIO * took_s, _LONGEST_REST_S))
        return moves + begun + (self._drive(now) if begun else 0)

    def look(self, now: datetime) -> int:
        """Look at every policy, and return how many runs that began."""
        with self._database.session() as session:
            rows = session.exec(select(PolicyRow).where(col(PolicyRow.is_enabled)).order_by(PolicyRow.name)).all()
        self._tallies.begin_look()
        begun = 0
        for row in rows:
            try:
                begun += self._look_at(row.name, now)
            except FencedError:
                raise
            except (SQLAlchemyError, HubError, ValueError):
                log.exception("looking at the policy %s failed; it is looked at again", row.name)
        return begun

    def _look_at(self, name: str, now: datetime) -> bool:
        with self._database.session() as session:
            row = session.get_one(PolicyRow, name)
            _, decision, _ = self._decide(session, row, now)
            last = _last_decision(session, name)
        if not decision.fires and last is not None and not _is_news(last, row, decision, now):
            return False
        with self._database.transaction() as session:
            row = session.get_one(PolicyRow, name, with_for_update=True)
            if not row.is_enabled:
                return False
            policy, decision, champion = self._decide(session, row, now)
            _note_decision(session, row, decision, now)
            if decision.fires:
                begin_run(session, row, policy, decision, champion, now)
        return decision.fires

    def _decide(self, session: Session, row: PolicyRow, now: datetime) -> tuple[Policy, Decision, int | None]:
        policy = Policy.model_validate(row.body)
        history = past_runs(session, policy, now)
        facts = read_facts(session, row, policy, self._tallies, history, now)
        return policy, decide(policy, facts, history, row.since, now), facts.champion

    def _drive(self, now: datetime) -> int:
        with self._database.session() as session:
            open_runs = [run_id for (run_id,) in _OPEN_RUNS.rows(session)]
        moves = 0
        for run_id in open_runs:
            for _ in range(MAX_MOVES):
                try:
                    if not move_run(self._hub, run_id, now):
                        break
                except FencedError:
                    raise
                except (SQLAlchemyError, HubError, OSError, ValueError):
                    log.exception("moving the run %s on failed; it is tried again", run_id)
                    break
                moves += 1
        return moves


def move_run(hub: HubContext, run_id: str, now: datetime) -> bool:
    """Move a run on by one move; return whether there was one to make."""
    with hub.database.session() as session:
        if _next_move(session, hub, find_run(session, run_id), now)[1] is None:
            return False
    try:
        with hub.database.transaction() as session:
            run = find_run(session, run_id, is_locked=True)
            steps, move = _next_move(session, hub, run, now)
            if move is not None:
                carry_out(session, hub, run, steps, move, now)
    except StepError as error:
        log.info("run %s: %s", run_id, error.message)
        with hub.database.transaction() as session:
            run = find_run(session, run_id, is_locked=True)
            steps = steps_of(session, run_id)
            view = view_run(session, run, steps, policy_of(session, run))
            failed = fail_to_begin(view, error.position, error.message, now)
            carry_out(session, hub, run, steps, failed, now)
    return True


def _next_move(
    session: Session, hub: HubContext, run: AutomationRun, now: datetime
) -> tuple[list[AutomationStep], Advance | None]:
    """Return a run's steps, and its next move; None where there is nothing to do."""
    steps, policy = steps_of(session, run.id), policy_of(session, run)
    view = view_run(session, run, steps, policy)
    current = view.current
    facts: StepFacts | None = None
    approvals = 0
    if current is not None:
        row = steps[current.position]
        if current.state == "working":
            facts = read_step(Doing(session, hub, policy, run, row, now), current.body)
        approvals = count_approvals(session, approvals_of(session, run, row)) if row.content_sha256 else 0
    move = advance(view, facts, approvals, now)
    return steps, None if move.run is view or move.run == view else move


def carry_out(
    session: Session, hub: HubContext, run: AutomationRun, steps: list[AutomationStep], move: Advance, now: datetime
) -> None:
    """Keep a move and do what it asks for, in one transaction.

    Raises:
        StepError: A step can not begin; nothing of the transaction is to be kept.
    """
    policy = policy_of(session, run)
    save_run(session, run, steps, move.run, now)
    for effect in move.effects:
        match effect:
            case BeginStep(position):
                _begin(Doing(session, hub, policy, run, steps[position], now), move, position)
            case EndStep(position):
                body = move.run.steps[position].body
                reason = move.run.reason or "has seen enough"
                end_step(Doing(session, hub, policy, run, steps[position], now), body, reason[:200])
            case AskApproval(position):
                _ask(Doing(session, hub, policy, run, steps[position], now), move.run.needs_approval[position])
            case TellEnd(state, reason):
                _tell_end(session, run, state, reason, now)


def _begin(doing: Doing, move: Advance, position: int) -> None:
    view, row = move.run.steps[position], doing.step
    approvers = approvals_of(doing.session, doing.run, row) if row.content_sha256 else []
    needed = move.run.needs_approval.get(position, 0)
    if needed and content_hash(doing.session, doing.run, row) != row.content_sha256:
        raise StepError(position, "what would be done is not what was approved; retry it, and have it approved anew")
    try:
        begun = begin(doing, view.body)
    except (HubError, ContractError, ValueError) as error:
        raise StepError(position, str(error)[:1000]) from error
    trigger = str(doing.run.trigger.get("reason", ""))
    row.why = why_step(doing.policy, move.run, view, trigger, [one.name for one in approvers])
    row.links, row.result = row.links | begun.links, row.result | begun.result
    doing.session.add(row)


def _ask(doing: Doing, needed: int) -> None:
    row, run = doing.step, doing.run
    row.content_sha256 = content_hash(doing.session, run, row)
    doing.session.add(row)
    people = "1 person" if needed == 1 else f"{needed} people"
    notify(
        doing.session,
        key=f"automation/{run.id}/{row.position}/{row.attempt}/approval",
        subject=doing.by,
        title=f"{run.policy}: {row.kind} of {run.model} waits for the approval of {people}",
        text=f"Look at it, then approve: shoal automation explain {run.id}; shoal automation approve {run.id}",
        severity="info",
        labels={"policy": run.policy, "model": run.model, "run": run.id},
        now=doing.now,
    )


def _tell_end(session: Session, run: AutomationRun, state: str, reason: str, now: datetime) -> None:
    """Tell people of a run that did not come to its end; one that did says what its policy has it say."""
    if state not in {"failed", "rejected"}:
        return
    attempts = sum(step.attempt for step in steps_of(session, run.id))
    notify(
        session,
        key=f"automation/{run.id}/{state}/{attempts}",
        subject=actor_name(run.policy),
        title=f"{run.policy}: the run {run.id} {state}",
        text=f"{reason}. The whole story: shoal automation explain {run.id}",
        severity="warning" if state == "failed" else "info",
        labels={"policy": run.policy, "model": run.model, "run": run.id},
        now=now,
    )


def _last_decision(session: Session, name: str) -> DecisionRow | None:
    wanted = select(DecisionRow).where(DecisionRow.policy == name).order_by(col(DecisionRow.id).desc())
    return session.exec(wanted.limit(1)).first()


def _mark(decision: Decision) -> str:
    holding = ",".join(one.name for one in decision.conditions if one.holds)
    back = ",".join(one.name for one in decision.guards if not one.holds)
    return f"{decision.outcome}:{holding}:{back}"


def _is_news(last: DecisionRow, row: PolicyRow, decision: Decision, now: datetime) -> bool:
    is_same = (last.mark, last.revision) == (_mark(decision), row.revision)
    return not is_same or abs(now - last.last_at) >= _NOTE_EVERY


def _note_decision(session: Session, row: PolicyRow, decision: Decision, now: datetime) -> None:
    last, mark = _last_decision(session, row.name), _mark(decision)
    body: dict[str, Any] = decision.model_dump(mode="json") | {"reason": decision.reason}
    if last is not None and not decision.fires and (last.mark, last.revision) == (mark, row.revision):
        last.last_at, last.decision = now, body
        session.add(last)
        return
    session.add(
        DecisionRow(
            policy=row.name,
            revision=row.revision,
            at=now,
            last_at=now,
            outcome=decision.outcome,
            mark=mark,
            decision=body,
        )
    )
    oldest = select(DecisionRow.id).where(DecisionRow.policy == row.name).order_by(col(DecisionRow.id).desc())
    if (first_gone := session.exec(oldest.offset(MAX_DECISIONS).limit(1)).first()) is not None:
        session.exec(delete(DecisionRow).where(col(DecisionRow.policy) == row.name, col(DecisionRow.id) <= first_gone))
