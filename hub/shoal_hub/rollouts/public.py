"""Rollouts as the API shows them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter
from sqlmodel import Session

from shoal_contract.reported import Problem
from shoal_hub.database import utc_now
from shoal_hub.gates.tables import GateLook
from shoal_hub.rollouts.counts import WaveCounts, count_by_state, count_by_wave, travelled_bytes, whole_bytes
from shoal_hub.rollouts.gate import last_look, waits_for_person
from shoal_hub.rollouts.listing import Listed
from shoal_hub.rollouts.reconcile import view_rollout
from shoal_hub.rollouts.request import RolloutPlan, Threshold
from shoal_hub.rollouts.tables import DeploymentState, Rollout, RolloutState
from shoal_hub.rollouts.thresholds import describe, measure
from shoal_hub.rollouts.views import RolloutView
from shoal_hub.rollouts.work import count_deployments

Wait = Literal["start", "deltas", "soak", "gate", "approval"]


class RolloutSummary(BaseModel):
    """A rollout; `counts` are its deployments by state."""

    id: str
    model: str
    version: int
    state: RolloutState
    waves: list[int]
    current_wave: int
    max_failures: int | None
    timeout_s: float
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    reason: str
    counts: dict[DeploymentState, int]
    wave_counts: list[dict[DeploymentState, int]]
    """For each wave, its deployments by state; those held back are in none."""


class DeploymentPublic(BaseModel):
    """One device's attempt."""

    id: str
    device_id: str
    device_name: str
    wave: int
    target: str
    state: DeploymentState
    step: str
    waits_for: str
    """What its device waits for: `window`, `activate_at`, its owner's `veto`, its month's `budget`; empty: nothing."""
    tries: int
    failure: str
    """Of what it failed, by the kinds that thresholds name."""
    from_version: int | None
    fetched_bytes: int | None
    """What the model's file took to travel, by delta or whole; None until the device has told."""
    forecast_bytes: int | None
    """What was forecast of that at the start, at most; None where it was not known what the device can run."""
    whole_bytes: int | None
    """What the whole file would take."""
    problem: Problem | None
    assigned_at: datetime | None
    ended_at: datetime | None


_DEPLOYMENTS: Final = TypeAdapter(list[DeploymentPublic])


class ThresholdPublic(BaseModel):
    """A bound on failures, and how far it is."""

    threshold: Threshold
    description: str
    failures: int
    executed: int
    is_crossed: bool


class GatePublic(BaseModel):
    """The last look at a wave's gate, with each metric's numbers as JSON."""

    wave: int
    at: datetime
    verdict: Literal["advance", "hold", "abort"]
    tested: str
    """What the statistics alone say: advance, hold, abort, or not_tested where there is too little for a test."""
    reason: str
    alpha_spent: float
    metrics: list[dict[str, Any]]


class RolloutDetail(RolloutSummary):
    """A rollout with its plan, how far it is, and its deployments, the first ones if there are many.

    `fetched_bytes` and `whole_bytes` are the sums over all deployments whose devices have told what travelled.
    """

    plan: RolloutPlan
    seed: int
    """Of the random order and choice of its devices."""
    waits_for: Wait | None
    """Why no device is told now: the start's time, deltas, a wave's soak time or gate, or somebody's approval: of the
    next wave, or of a gate that was undecided for its time."""
    soaks_until: datetime | None
    in_flight: int
    """Devices that are at it."""
    returning: int
    """Devices that were told to go back and have not said how that went; also of one that was aborted."""
    thresholds: list[ThresholdPublic]
    gates: list[GatePublic]
    """Of each wave that was looked at."""
    why_no_last_gate: str
    """Why the last wave has no gate, where the others have one; empty where it has, or where the plan has none."""
    is_waiting_for_deltas: bool
    """No device is told yet, as less may have to travel soon."""
    fetched_bytes: int
    whole_bytes: int
    forecast_bytes: int
    """What was forecast at the start for the devices that have told; a delta that was still to be made is in it as the
    whole file."""
    forecast_total_bytes: int
    """The same for all devices."""
    deployments: list[DeploymentPublic]


def summarise(row: Rollout, waves: WaveCounts) -> RolloutSummary:
    """Return a rollout as lists show it."""
    by_wave = [waves.get(number, {}) for number in range(len(row.waves))]
    counts = {"counts": count_by_state(waves), "wave_counts": by_wave}
    return RolloutSummary.model_validate(row.model_dump() | counts)


def detail(session: Session, row: Rollout, deployments: Sequence[Listed]) -> RolloutDetail:
    """Return a rollout with some of its deployments; all are counted."""
    now = utc_now()
    view = view_rollout(session, row, now)
    tally = count_deployments(session, row.id)
    whole = whole_bytes(session, row)
    travelled = travelled_bytes(session, row, whole)
    measured = [measure(one, tally) for one in view.plan.thresholds]
    thresholds = [
        ThresholdPublic(
            threshold=one.threshold,
            description=describe(one.threshold),
            failures=one.failures,
            executed=one.executed,
            is_crossed=one.is_crossed,
        )
        for one in measured
    ]
    has_gate = view.plan.gate is not None
    looks = [last_look(session, row.id, wave) for wave in range(row.current_wave + 1)] if has_gate else []
    gates = [GatePublic.model_validate(look, from_attributes=True) for look in looks if look is not None]
    return RolloutDetail(
        **summarise(row, count_by_wave(session, [row.id])[row.id]).model_dump(),
        plan=view.plan,
        seed=row.seed,
        waits_for=_wait_of(view, now, looks[-1] if looks else None, is_for_person=waits_for_person(session, view, now)),
        soaks_until=view.soaks_until(),
        in_flight=tally.in_flight,
        returning=tally.returning,
        thresholds=thresholds,
        gates=gates,
        why_no_last_gate=view.why_no_last_gate,
        is_waiting_for_deltas=view.is_waiting_for_deltas,
        **asdict(travelled),
        deployments=_DEPLOYMENTS.validate_python(
            [{**one._asdict(), "whole_bytes": whole.get(one.target)} for one in deployments]
        ),
    )


def _wait_of(view: RolloutView, now: datetime, look: GateLook | None, *, is_for_person: bool) -> Wait | None:
    """Return why a rollout that runs tells nobody now; None where it does, or has ended."""
    soaks_until, start_at = view.soaks_until(), view.plan.start_at
    is_let_pass = view.is_gate_passed or (look is not None and look.verdict == "advance")
    needs_approval = not view.is_last_wave and not view.is_next_wave_approved
    waits: list[tuple[Wait, bool]] = [
        ("start", start_at is not None and now < start_at),
        ("deltas", view.is_waiting_for_deltas),
        ("soak", soaks_until is not None and now < soaks_until),
        ("approval", is_for_person),
        ("gate", soaks_until is not None and view.is_gated and not is_let_pass),
        ("approval", soaks_until is not None and needs_approval),
    ]
    return next((name for name, holds in waits if holds), None) if view.state == "running" else None
