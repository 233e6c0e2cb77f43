"""What a trial has come to: each side's counts, and how often a candidate in shadow disagreed."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from sqlmodel import Session, col, select

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.devices.compose import TRIALS
from shoal_hub.devices.tables import Device
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version
from shoal_hub.trials.effects import effects_of, untested_effects
from shoal_hub.trials.public import (
    ArmResult,
    HardExamplePublic,
    ShadowResult,
    TrialDetail,
    TrialDevicePublic,
    TrialResults,
    TrialSummary,
)
from shoal_hub.trials.tables import ShadowRow, Trial, TrialArm, TrialDevice
from shoal_hub.trials.tell import is_told
from shoal_numerics import NumericsError
from shoal_numerics.proportion import wilson_interval

log = logging.getLogger(__name__)

_CONFIDENCE: Final = 0.95


@dataclass
class Side:
    """One version's counts in a trial, by device."""

    version: int
    requests: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    labelled: int = 0
    correct: int = 0
    latency: list[int] = field(default_factory=list)
    confidence: list[int] = field(default_factory=list)

    def add(self, row: WindowRow) -> None:
        """Count one window."""
        self.requests[row.device_id] = self.requests.get(row.device_id, 0) + row.requests
        self.errors[row.device_id] = self.errors.get(row.device_id, 0) + row.errors
        self.samples += row.samples
        self.labelled += row.labelled
        self.correct += row.correct
        self.latency = _sum(self.latency, row.latency)
        self.confidence = _sum(self.confidence, row.confidence)


def sides_of(session: Session, trial: Trial) -> tuple[Side, Side]:
    """Return what the serving version and the candidate have seen on the trial's devices since it began."""
    arms = dict(
        session.exec(select(TrialDevice.device_id, TrialDevice.arm).where(TrialDevice.trial_id == trial.id)).all()
    )
    sides = {"control": Side(trial.against), "candidate": Side(trial.version)}
    wanted = select(WindowRow).where(
        WindowRow.model == trial.model,
        col(WindowRow.version).in_((trial.against, trial.version)),
        col(WindowRow.started_at) >= trial.created_at,
        col(WindowRow.device_id).in_(select(TrialDevice.device_id).where(TrialDevice.trial_id == trial.id)),
    )
    if trial.ended_at is not None:
        wanted = wanted.where(col(WindowRow.started_at) <= trial.ended_at)
    for row in session.exec(wanted):
        side = "candidate" if row.version == trial.version else "control"
        if arms[row.device_id] in {side, "both"}:
            sides[side].add(row)
    return sides["control"], sides["candidate"]


def detail(session: Session, trial: Trial) -> TrialDetail:
    """Return a trial with all that it has come to."""
    devices = _devices(session, trial)
    results, shadow, examples = read_results(session, trial), None, []
    if trial.mode == "shadow":
        rows = session.exec(select(ShadowRow).where(ShadowRow.trial_id == trial.id).order_by(col(ShadowRow.id))).all()
        shadow, examples = _shadow(rows), _examples(rows)
    return TrialDetail(
        **summarise(trial).model_dump(),
        is_waiting_for_deltas=trial.state == "running" and not is_told(session, trial),
        devices=devices,
        arms=results.arms,
        effects=results.effects,
        shadow=shadow,
        examples=examples,
    )


def read_results(session: Session, trial: Trial) -> TrialResults:
    """Return what the sides of a trial have come to: of one that has ended, what they had then."""
    if trial.results is not None:
        return TrialResults.model_validate(trial.results)
    if trial.mode != "ab":
        return TrialResults()
    control, candidate = sides_of(session, trial)
    baselines = _confidence_edges(session, trial)
    arms = [_arm("control", control, baselines), _arm("candidate", candidate, baselines)]
    try:
        effects = effects_of(session, trial)
    except NumericsError as error:  # the counts are shown all the same, and the trial can end
        log.exception("reading the effects of trial %s", trial.id)
        effects = untested_effects(f"what devices say can not be compared: {error}")
    return TrialResults(arms=arms, effects=effects)


def summarise(trial: Trial) -> TrialSummary:
    """Return a trial as lists show it."""
    return TrialSummary.model_validate(trial, from_attributes=True)


def quantile_ms(latency: Sequence[int], share: float) -> float | None:
    """Return the upper edge, milliseconds, of the bin in which a share of the requests has been answered.

    Args:
        latency: Counts over `LATENCY_EDGES_MS`, the outer bins open.
        share: 0 to 1.
    """
    total = sum(latency)
    if total == 0:
        return None
    reached = int(np.searchsorted(np.cumsum(latency), share * total))
    return LATENCY_EDGES_MS[reached] if reached < len(LATENCY_EDGES_MS) else None


def _arm(arm: TrialArm, side: Side, edges: dict[int, Sequence[float]]) -> ArmResult:
    requests, errors = sum(side.requests.values()), sum(side.errors.values())
    return ArmResult(
        arm=arm,
        version=side.version,
        devices=len(side.requests),
        requests=requests,
        errors=errors,
        error_rate=errors / requests if requests else None,
        samples=side.samples,
        labelled=side.labelled,
        accuracy=side.correct / side.labelled if side.labelled else None,
        p50_ms=quantile_ms(side.latency, 0.5),
        p95_ms=quantile_ms(side.latency, 0.95),
        mean_confidence=_mean(side.confidence, edges.get(side.version, ())),
    )


def _mean(counts: Sequence[int], edges: Sequence[float]) -> float | None:
    """Return the mean of a histogram over probabilities, each bin at its middle."""
    total = sum(counts)
    if total == 0 or len(counts) != len(edges) + 1:
        return None
    bounds = np.clip([0.0, *edges, 1.0], 0.0, 1.0)
    return float(np.dot(counts, (bounds[:-1] + bounds[1:]) / 2) / total)


def _confidence_edges(session: Session, trial: Trial) -> dict[int, Sequence[float]]:
    numbers = (trial.against, trial.version)
    wanted = select(Version.number, Version.baseline).where(
        Version.model == trial.model, col(Version.number).in_(numbers)
    )
    return {number: Baseline.model_validate(found).confidence.edges for number, found in session.exec(wanted)}


def _shadow(rows: Sequence[ShadowRow]) -> ShadowResult:
    compared, disagreed = sum(row.compared for row in rows), sum(row.disagreed for row in rows)
    latency: list[int] = []
    for row in rows:
        latency = _sum(latency, row.latency)
    low, high = wilson_interval(disagreed, compared, _CONFIDENCE) if compared else (None, None)
    labelled = sum(row.labelled for row in rows)
    return ShadowResult(
        devices=len({row.device_id for row in rows}),
        compared=compared,
        disagreed=disagreed,
        disagreement_rate=disagreed / compared if compared else None,
        low=low,
        high=high,
        errors=sum(row.errors for row in rows),
        skipped=sum(row.skipped for row in rows),
        p95_ms=quantile_ms(latency, 0.95),
        labelled=labelled,
        accuracy=sum(row.correct for row in rows) / labelled if labelled else None,
        against_accuracy=sum(row.against_correct for row in rows) / labelled if labelled else None,
    )


def _examples(rows: Iterable[ShadowRow]) -> list[HardExamplePublic]:
    found = [
        HardExamplePublic(device_id=row.device_id, at=row.ended_at, **example)
        for row in rows
        for example in row.examples
    ]
    return sorted(found, key=lambda one: -one.candidate_confidence)


def _devices(session: Session, trial: Trial) -> list[TrialDevicePublic]:
    wanted = (
        select(TrialDevice, Device.reported)
        .join(Device, col(Device.id) == col(TrialDevice.device_id))
        .where(TrialDevice.trial_id == trial.id)
        .order_by(col(TrialDevice.device_id))
    )
    shown = []
    for placed, reported in session.exec(wanted):
        section = (reported or {}).get("sections", {}).get(f"{TRIALS}{trial.model}", {})
        is_ours = section.get("deployment") == trial.id
        problem = (section.get("problem") or {}) if is_ours else {}
        shown.append(
            TrialDevicePublic(
                device_id=placed.device_id,
                arm=placed.arm,
                target=placed.target,
                state=section.get("state", "") if is_ours else "",
                problem=f"{problem['message']}; {problem['remedy']}" if problem else "",
            )
        )
    return shown


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Add two histograms; one without counts yet is any."""
    if not one or len(one) != len(other):
        return list(other) if math.fsum(one) == 0 else list(one)
    return [left + right for left, right in zip(one, other, strict=True)]
