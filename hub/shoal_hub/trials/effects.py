"""What an A/B trial's candidate does next to the version that serves: effects whose intervals hold at any time.

The statistics are those of a rollout's gate, with one gate and the trial's whole time as its window. The unit is the
device; where keys are split, each device is on both sides, which only makes the intervals wider than they had to be.
"""

from datetime import datetime
from typing import Final

import numpy as np
from sqlmodel import Session, select

from shoal_hub.gates.evidence import Sides, Times, before_of, collect
from shoal_hub.gates.plan import FORMS, GateMetricPlan, GatePlan
from shoal_hub.trials.public import Effect
from shoal_hub.trials.tables import Trial, TrialDevice
from shoal_numerics import DeviceTotals, Evidence, GateMetric, MetricResult, evaluate_metric

PLAN: Final = GatePlan(
    metrics=[GateMetricPlan(name=name) for name in ("error_rate", "p95_latency", "confidence", "accuracy")]
)


def effects_of(session: Session, trial: Trial) -> list[Effect]:
    """Return each metric's effect; its numbers are None where there is too little for a test."""
    budget = PLAN.budget(1)
    found = []
    for metric, evidence in _evidence(session, trial):
        result = evaluate_metric(metric, evidence, budget.levels(metric.name, 0))
        found.append(_shown(result))
    return found


def untested_effects(reason: str) -> list[Effect]:
    """Return each metric as not tested, for one reason."""
    nothing = {"estimate": None, "low": None, "high": None, "confidence": 1 - PLAN.alpha, "verdict": "not_tested"}
    return [
        Effect.model_validate(nothing | {"metric": one.name, "unit": FORMS[one.name].unit, "reason": reason})
        for one in PLAN.metrics
    ]


def shows_harm(effects: list[Effect]) -> str:
    """Return why the candidate is harmful; empty if that is not shown."""
    return "; ".join(f"{one.metric}: {one.reason}" for one in effects if one.verdict == "abort")


def windows_needed(session: Session) -> list[tuple[str, datetime]]:
    """Return, for each running A/B trial, its model and from when on it reads windows."""
    running = session.exec(select(Trial).where(Trial.state == "running", Trial.mode == "ab"))
    return [(trial.model, before_of(trial.created_at, PLAN)) for trial in running]


def _evidence(session: Session, trial: Trial) -> list[tuple[GateMetric, Evidence]]:
    wanted = select(TrialDevice.device_id, TrialDevice.arm).where(TrialDevice.trial_id == trial.id)
    arms = dict(session.exec(wanted.order_by(TrialDevice.device_id)).all())
    canaries = [device_id for device_id, arm in arms.items() if arm in {"candidate", "both"}]
    controls = [device_id for device_id, arm in arms.items() if arm in {"control", "both"}]
    times = Times(before_of(trial.created_at, PLAN), trial.created_at, trial.created_at, trial.ended_at)
    ours = collect(session, Sides(trial.model, trial.version, trial.against, canaries, ()), times, PLAN)
    theirs = collect(session, Sides(trial.model, trial.version, trial.against, (), controls), times, PLAN)
    return [(metric, _joined(one, other)) for (metric, one), (_, other) in zip(ours, theirs, strict=True)]


def _joined(canaries: Evidence, controls: Evidence) -> Evidence:
    def join(one: DeviceTotals, other: DeviceTotals) -> DeviceTotals:
        numerator = np.concatenate([one.numerator, other.numerator])
        return DeviceTotals(numerator, np.concatenate([one.weight, other.weight]))

    is_canary = np.concatenate([canaries.is_canary, controls.is_canary])
    return Evidence(join(canaries.before, controls.before), join(canaries.after, controls.after), is_canary)


def _shown(result: MetricResult) -> Effect:
    name = result.metric.name
    is_tested = result.verdict != "not_tested"
    return Effect(
        metric=name,
        unit=FORMS[name].unit,  # type: ignore[index]  # the plan's names alone come here
        estimate=float(result.effect) if is_tested else None,
        low=float(result.lower) if is_tested else None,
        high=float(result.upper) if is_tested else None,
        confidence=1 - PLAN.alpha,
        verdict=result.verdict,
        reason=result.reason,
    )
