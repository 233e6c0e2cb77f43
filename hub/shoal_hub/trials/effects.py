"""What an A/B trial's candidate does next to the version that serves: effects whose intervals hold at any time.

The statistics are those of a rollout's gate, with one gate and the trial's whole time as its window. The unit is the
device; where keys are split, each device is on both sides, which only makes the intervals wider than they had to be.
"""

from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.gates.evidence import Sides, Times, before_of, collect
from shoal_hub.gates.plan import FORMS, GateMetricPlan, GatePlan
from shoal_hub.trials.public import Effect
from shoal_hub.trials.running import running_trials
from shoal_hub.trials.tables import Trial, TrialDevice
from shoal_numerics import Evidence, GateMetric, MetricResult, evaluate_metric

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
    running = [trial for trial in running_trials(session) if trial.mode == "ab"]
    return [(trial.model, before_of(trial.created_at, PLAN)) for trial in running]


def _evidence(session: Session, trial: Trial) -> list[tuple[GateMetric, Evidence]]:
    of_trial, arm = select(TrialDevice.device_id).where(TrialDevice.trial_id == trial.id), col(TrialDevice.arm)
    canaries, controls = (of_trial.where(arm.in_((side, "both"))) for side in ("candidate", "control"))
    times = Times(before_of(trial.created_at, PLAN), trial.created_at, trial.created_at, trial.ended_at)
    return collect(session, Sides(trial.model, trial.version, trial.against, canaries, controls), times, PLAN)


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
