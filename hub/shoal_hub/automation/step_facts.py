"""Reads how what a step has begun stands now, and what it came to; and takes back what is not needed any more."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select as select_columns
from sqlmodel import col, func, select

from shoal_hub.automation.begin import Doing, captured_since
from shoal_hub.automation.judge import Score, TrialCounts, has_enough, judge_held_out, judge_trial
from shoal_hub.automation.machine import StepFacts
from shoal_hub.automation.policy import TrialGuard
from shoal_hub.automation.steps import CaptureStep, PolicyStep, TrialStep
from shoal_hub.captures.asking import cease_to_ask
from shoal_hub.captures.tables import CaptureRequest, CaptureRow
from shoal_hub.devices.compose import TRIALS
from shoal_hub.devices.tables import Device
from shoal_hub.federation.start import stop_run
from shoal_hub.federation.tables import FederatedRun
from shoal_hub.jobs.queue import give_up
from shoal_hub.jobs.tables import Job
from shoal_hub.rollouts.commands import abort
from shoal_hub.rollouts.start import find_rollout
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trials.results import read_results
from shoal_hub.trials.start import end_trial, find_trial
from shoal_hub.trials.tables import ShadowRow, Trial, TrialDevice

_ENDED = "ended"


def read_step(doing: Doing, body: PolicyStep) -> StepFacts:  # noqa: PLR0911 - one a kind
    """Return how a step at work stands."""
    match body.kind:
        case "capture":
            return _capture(doing, body)
        case "federated":
            return _federated(doing)
        case "retrain" | "recompress" | "compare":
            return _job(doing, body)
        case "trial":
            return _trial(doing, body)
        case "roll_out":
            return _rollout(doing, "succeeded")
        case "roll_back":
            return _rollout(doing, "rolled_back")
        case _:
            return StepFacts("succeeded", "told")


def _capture(doing: Doing, body: PolicyStep) -> StepFacts:
    begun_at = doing.step.begun_at
    if not isinstance(body, CaptureStep) or begun_at is None:
        return StepFacts("failed", "it has not begun")
    came = select(func.count()).where(
        CaptureRow.model == doing.run.model, col(CaptureRow.at) >= captured_since(doing, timedelta(0))
    )
    samples = int(doing.session.exec(came).one())
    labelled = int(doing.session.exec(came.where(col(CaptureRow.true_label).is_not(None))).one())
    result = {"samples": samples, "labelled": labelled}
    reason = f"{samples} samples came, {labelled} of them with a true label"
    if body.until_labelled is not None and labelled >= body.until_labelled:
        return StepFacts("succeeded", reason, result)
    if doing.now - begun_at >= timedelta(seconds=body.for_s):
        return StepFacts("succeeded", f"{reason}, in the {body.for_s:g} s that it had", result)
    return StepFacts("working", reason, result)


def _federated(doing: Doing) -> StepFacts:
    run = doing.session.get(FederatedRun, doing.step.links.get("federated_run", ""))
    if run is None:
        return StepFacts("failed", "its federated run is there no more")
    result: dict[str, Any] = {"rounds_played": len(run.history)}
    if run.state == "running":
        return StepFacts("working", f"round {run.current_round} of {run.rounds}", result)
    if run.state != "succeeded" or run.result_version is None:
        why = run.reason or "no reason is told"
        return StepFacts("failed", f"the federated run {run.id} {run.state}: {why}", result)
    trained = [int(one["trained"]) for one in run.history]
    result |= {"trained": trained, "candidate": run.result_version}
    reason = f"{run.rounds} rounds on {max(trained, default=0)} devices made version {run.result_version}"
    return StepFacts("succeeded", reason, result, candidate=run.result_version)


def _job(doing: Doing, body: PolicyStep) -> StepFacts:
    job = doing.session.get(Job, doing.step.links.get("job", ""))
    if job is None:
        return StepFacts("failed", "its job is there no more")
    if job.state in {"queued", "running"}:
        return StepFacts("working", f"the job {job.id} is {job.state}: {job.message}")
    if job.state != "succeeded" or job.result is None:
        return StepFacts("failed", f"the job {job.id} {job.state}: {job.error}")
    return _result_of(doing, body, job.result)


def _result_of(doing: Doing, body: PolicyStep, result: dict[str, Any]) -> StepFacts:
    """Return what a job's result comes to for the run."""
    if body.kind == "retrain":
        made, captured = int(result["version"]), result["captured"]
        reason = f"trained on {result['samples']} samples, {captured} of them captured: version {made}"
        return StepFacts("succeeded", reason, result, candidate=made)
    if body.kind == "recompress":
        return StepFacts("succeeded", f"variants for {', '.join(result['targets'])}", result)
    scores = [Score.model_validate(one) for one in result["scores"]]
    beat = doing.policy.guards.beat_champion
    guard = beat.held_out if beat is not None else None
    if guard is None:
        return StepFacts("succeeded", "; ".join(map(str, scores)), result)
    return StepFacts("succeeded", "", result, verdict=judge_held_out(guard, scores))


def _trial(doing: Doing, body: PolicyStep) -> StepFacts:
    trial = doing.session.get(Trial, doing.step.links.get("trial", ""))
    if trial is None or not isinstance(body, TrialStep):
        return StepFacts("failed", "its trial is there no more")
    counts = count_trial(doing, trial)
    beat = doing.policy.guards.beat_champion
    guard: TrialGuard | None = beat.trial if beat is not None else None
    result = counts.model_dump()
    if trial.state != _ENDED and not has_enough(guard, counts):
        seen = f"{counts.requests} requests, {counts.labelled} labelled"
        return StepFacts("working", f"trial {trial.id}: {seen}", result)
    word = "in shadow" if body.mode == "shadow" else "A/B"
    if guard is None:
        return StepFacts("succeeded", f"{counts.requests} requests {word}, {counts.disagreed} disagreed", result)
    return StepFacts("succeeded", "", result, verdict=judge_trial(guard, counts, word))


def count_trial(doing: Doing, trial: Trial) -> TrialCounts:
    """Return what a trial has come to until now."""
    if trial.mode == "ab":
        arms = {arm.arm: arm for arm in read_results(doing.session, trial).arms}
        mine, other = arms.get("candidate"), arms.get("control")
        if mine is None or other is None:
            return TrialCounts()
        return TrialCounts(
            requests=mine.requests,
            errors=mine.errors,
            labelled=mine.labelled,
            correct=round((mine.accuracy or 0.0) * mine.labelled),
            against_labelled=other.labelled,
            against_correct=round((other.accuracy or 0.0) * other.labelled),
            least_labelled=min(mine.labelled, other.labelled),
        )
    return _count_shadow(doing, trial)


def _count_shadow(doing: Doing, trial: Trial) -> TrialCounts:
    columns = ("compared", "disagreed", "errors", "labelled", "correct", "against_correct")
    sums = [func.coalesce(func.sum(getattr(ShadowRow, name)), 0) for name in columns]
    wanted: Any = select_columns(col(ShadowRow.device_id), *sums).where(col(ShadowRow.trial_id) == trial.id)
    rows = doing.session.connection().execute(wanted.group_by(col(ShadowRow.device_id))).all()
    found = {device_id: list(map(int, counts)) for device_id, *counts in rows}
    compared, disagreed, errors, labelled, correct, against = (
        map(sum, zip(*found.values(), strict=True)) if found else [0] * len(columns)
    )
    taking_part = _taking_part(doing, trial)
    return TrialCounts(
        requests=compared + errors,
        errors=errors,
        disagreed=disagreed,
        labelled=labelled,
        correct=correct,
        against_labelled=labelled,
        against_correct=against,
        least_labelled=min((found[one][3] if one in found else 0 for one in taking_part), default=labelled),
    )


def _taking_part(doing: Doing, trial: Trial) -> list[str]:
    """Return the devices of a trial in shadow that have not said that it has failed there."""
    state = col(Device.reported)[("sections", f"{TRIALS}{trial.model}", "state")].as_string()
    deployment = col(Device.reported)[("sections", f"{TRIALS}{trial.model}", "deployment")].as_string()
    wanted: Any = (
        select_columns(col(TrialDevice.device_id), state, deployment)
        .join(Device, col(Device.id) == col(TrialDevice.device_id))
        .where(col(TrialDevice.trial_id) == trial.id, col(TrialDevice.target) != "", col(Device.revoked_at).is_(None))
    )
    rows = doing.session.connection().execute(wanted).all()
    return [device_id for device_id, state, named in rows if not (state == "failed" and named == trial.id)]


def _rollout(doing: Doing, wanted: str) -> StepFacts:
    rollout = doing.session.get(Rollout, doing.step.links.get("rollout", ""))
    if rollout is None:
        return StepFacts("failed", "its rollout is there no more")
    if rollout.state == wanted:
        return StepFacts("succeeded", f"rollout {rollout.id} {wanted.replace('_', ' ')}", {"waves": rollout.waves})
    if wanted == "rolled_back" and rollout.state == "rolling_back":
        return StepFacts("working", "devices are on their way back")
    if wanted == "succeeded" and rollout.state in {"running", "paused"}:
        wave = min(rollout.current_wave + 1, len(rollout.waves))
        return StepFacts("working", f"{rollout.state}, wave {wave} of {len(rollout.waves)}")
    why = f": {rollout.reason}" if rollout.reason else ""
    return StepFacts("failed", f"rollout {rollout.id} was {rollout.state.replace('_', ' ')}{why}")


def end_step(doing: Doing, body: PolicyStep, reason: str) -> None:
    """Take back what a step still wants of devices and jobs; what has ended by itself is left as it is."""
    session, links = doing.session, doing.step.links
    match body.kind:
        case "capture":
            standing = session.get(CaptureRequest, doing.run.model)
            if standing is not None and standing.set_by == doing.by:
                cease_to_ask(session, doing.run.model, by=doing.by, now=doing.now)
        case "federated":
            run = session.get(FederatedRun, links.get("federated_run", ""), with_for_update=True)
            if run is not None and run.state == "running":
                stop_run(session, run, by=doing.by, now=doing.now)
        case "retrain" | "recompress" | "compare":
            job = session.get(Job, links.get("job", ""))
            if job is not None and job.state in {"queued", "running"}:
                give_up(session, job.id, reason)
        case _:
            _end_on_devices(doing, body, reason)


def _end_on_devices(doing: Doing, body: PolicyStep, reason: str) -> None:
    session, links = doing.session, doing.step.links
    if body.kind == "trial" and "trial" in links:
        trial = find_trial(session, links["trial"], is_locked=True)
        if trial.state != _ENDED:
            end_trial(session, trial, f"{reason}, by {doing.by}", read_results(session, trial), doing.now)
    if body.kind == "roll_out" and "rollout" in links:
        rollout = find_rollout(session, links["rollout"], is_locked=True)
        if rollout.state in {"running", "paused"}:
            abort(session, rollout, by=doing.by, now=doing.now)
