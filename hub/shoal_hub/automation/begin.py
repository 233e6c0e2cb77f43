"""Begins what a step does, in the transaction that notes that it has begun: both are kept, or neither."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from shoal_compression.compress import techniques_for
from shoal_hub.alerts.notify import notify
from shoal_hub.approvals.policy import require_none_needed
from shoal_hub.automation.model_facts import served_versions
from shoal_hub.automation.policy import HeldOutGuard, Policy
from shoal_hub.automation.steps import (
    CaptureStep,
    CompareStep,
    FederatedStep,
    NotifyStep,
    PolicyStep,
    RecompressStep,
    RetrainStep,
    RollBackStep,
    RollOutStep,
    TrialStep,
)
from shoal_hub.automation.tables import AutomationRun, AutomationStep
from shoal_hub.captures.asking import Asked, ask_for
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError
from shoal_hub.federation.start import RunRequest, start_run
from shoal_hub.jobs.queue import enqueue
from shoal_hub.monitoring.accepted import accept_inputs
from shoal_hub.monitoring.screening import THRESHOLDS
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.rollouts.commands import roll_back
from shoal_hub.rollouts.request import RolloutPlan, RolloutRequest
from shoal_hub.rollouts.start import find_rollout, start_request, starter_of
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trials.public import TrialRequest
from shoal_hub.trials.start import start_trial


@dataclass(frozen=True)
class Begun:
    """What a step has begun: ids by what they are of, and what is known of it at once."""

    links: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Doing:
    """What a step acts with.

    Attributes:
        session: An open transaction.
        hub: Store, keys and settings.
        policy: As it was when the run began.
        run: The run.
        step: The step's row.
        now: The clock.
    """

    session: Session
    hub: HubContext
    policy: Policy
    run: AutomationRun
    step: AutomationStep
    now: datetime

    @property
    def by(self) -> str:
        """Who acts."""
        return actor_name(self.policy.name)

    @property
    def champion(self) -> Version:
        """The version that the run began from.

        Raises:
            ConflictError: No device serves any.
        """
        return find_version(self.session, self.run.model, self._number(self.run.champion, "serves"))

    @property
    def candidate(self) -> Version:
        """The version that the run has made.

        Raises:
            ConflictError: There is none yet.
        """
        return find_version(self.session, self.run.model, self._number(self.run.candidate, "was made"))

    def _number(self, number: int | None, verb: str) -> str:
        if number is None:
            message = f"{self.run.id}: no version of {self.run.model} {verb}"
            raise ConflictError(message, f"see shoal automation explain {self.run.id}")
        return str(number)


def actor_name(policy: str) -> str:
    """Return the name under which a policy acts."""
    return f"automation/{policy}"


def begin(doing: Doing, body: PolicyStep) -> Begun:  # noqa: PLR0911 - one a kind
    """Begin a step.

    Raises:
        HubError: It cannot begin; nothing of the transaction is to be kept.
    """
    match body:
        case CaptureStep():
            return _capture(doing, body)
        case FederatedStep():
            return _federated(doing, body)
        case RetrainStep():
            return _retrain(doing, body)
        case RecompressStep():
            return _recompress(doing, body)
        case CompareStep():
            return _compare(doing)
        case TrialStep():
            return _trial(doing, body)
        case RollOutStep():
            return _roll_out(doing, body)
        case RollBackStep():
            return _roll_back(doing)
        case NotifyStep():
            return _notify(doing, body)


def _capture(doing: Doing, body: CaptureStep) -> Begun:
    model = doing.run.model
    standing = doing.session.get(CaptureRequest, model)
    if standing is not None and standing.set_by != doing.by:
        return Begun({"capture_request": model}, {"asked_by": standing.set_by})  # it is asked for already, and stays
    asked = Asked(None, (), body.max_samples_per_day, body.max_bytes_per_day, body.after_s)
    ask_for(doing.session, model, asked, by=doing.by, now=doing.now)
    return Begun({"capture_request": model}, {"asked_by": doing.by})


def _federated(doing: Doing, body: FederatedStep) -> Begun:
    fields = body.model_dump(exclude={"kind"})
    request = RunRequest(model=doing.run.model, version=str(doing.champion.number), **fields)
    run = start_run(doing.session, doing.hub.artifacts, request, by=doing.by, now=doing.now)
    earlier = doing.step.links.get("federated_runs", [])
    links = {"federated_run": run.id, "job": run.job_id, "federated_runs": [*earlier, run.id]}
    return Begun(links, {"devices": len(run.devices), "rounds": run.rounds, "from_version": run.base_version})


def _retrain(doing: Doing, body: RetrainStep) -> Begun:
    version = doing.champion
    params = body.model_dump(exclude={"kind", "captured_s"}) | {
        "model": doing.run.model,
        "version": version.number,
        "captured_since": captured_since(doing, timedelta(seconds=body.captured_s)).isoformat(),
        "policy": doing.policy.name,
    }
    subject = f"models/{doing.run.model}/{version.number}"
    job = enqueue(doing.session, "train", subject, params, by=doing.by)
    return Begun({"job": job.id}, {"from_version": version.number})


def _recompress(doing: Doing, body: RecompressStep) -> Begun:
    techniques = list(body.techniques) or techniques_in_use(doing.session, doing.champion)
    candidate = doing.candidate
    techniques = techniques or list(techniques_for(candidate.files))
    params = {"version_id": candidate.id, "techniques": techniques}
    subject = f"model/{doing.run.model}/{candidate.number}"
    job = enqueue(doing.session, "compress", subject, params, by=doing.by)
    return Begun({"job": job.id}, {"techniques": techniques})


def captured_since(doing: Doing, back: timedelta) -> datetime:
    """Return from when on captured samples speak of what a run is about.

    Args:
        doing: The run.
        back: How far back from its beginning, where it is not drift that began it: else since that was seen.
    """
    seen = [one["facts"].get("raised_at") for one in _holding(doing.run, "drift")]
    raised = [datetime.fromisoformat(one) for one in seen if one]
    return min(raised) if raised else doing.run.created_at - back


def _holding(run: AutomationRun, name: str) -> list[dict[str, Any]]:
    """Return the conditions of a name by which a run began."""
    conditions: list[dict[str, Any]] = run.trigger.get("conditions", [])
    return [one for one in conditions if one["name"] == name and one["holds"]]


def techniques_in_use(session: Session, version: Version) -> list[str]:
    """Return by which techniques those variants of a version were made that devices serve; of all, if none does."""
    variants = find_variants(session, version)
    served = _served_targets(session, version) if served_versions(session, version.model) else set()
    used = [one for one in variants if one.target in served] or variants
    return list(dict.fromkeys(str(one.report["technique"]) for one in used if (one.report or {}).get("technique")))


def _served_targets(session: Session, version: Version) -> set[str]:
    target = col(Device.reported)[("models", version.model, "active", "target")].as_string()
    number = col(Device.reported)[("models", version.model, "active", "version")].as_integer()
    wanted = select(target).where(number == version.number, col(Device.revoked_at).is_(None)).distinct()
    return {one for one in session.exec(wanted).all() if one}


def _compare(doing: Doing) -> Begun:
    beat = doing.policy.guards.beat_champion
    guard = (beat.held_out if beat is not None else None) or HeldOutGuard()
    champion, candidate = doing.champion, doing.candidate
    params = {
        "model": doing.run.model,
        "champion": champion.number,
        "candidate": candidate.number,
        "captured_since": captured_since(doing, timedelta(seconds=guard.captured_s)).isoformat(),
        "is_trained_on_captures": any(step.kind == "retrain" for step in doing.policy.then),
    }
    subject = f"models/{doing.run.model}/{candidate.number}"
    job = enqueue(doing.session, "evaluate", subject, params, by=doing.by)
    return Begun({"job": job.id}, {"champion": champion.number, "candidate": candidate.number})


def _trial(doing: Doing, body: TrialStep) -> Begun:
    if body.mode == "ab":  # its answers go out, as a rollout's do
        require_none_needed(doing.session, doing.run.model, "rollout")
    request = TrialRequest(
        model=doing.run.model,
        version=str(doing.candidate.number),
        against=doing.champion.number,
        **body.model_dump(exclude={"kind"}),
    )
    trial, misfits = start_trial(doing.session, doing.hub, request, by=doing.by, now=doing.now)
    return Begun({"trial": trial.id}, {"left_out": len(misfits)})


def _roll_out(doing: Doing, body: RollOutStep) -> Begun:
    plan = body.model_dump(mode="json", include=set(RolloutPlan.model_fields))
    candidate = doing.candidate
    _check_champion(doing)
    request = RolloutRequest.model_validate(plan | {"model": doing.run.model, "version": str(candidate.number)})
    learnt = _learn(doing) if body.learns_drift else {}
    rollout = start_request(doing.session, starter_of(doing.hub), request, by=doing.by)
    return Begun({"rollout": rollout.id} | learnt.get("links", {}), {"waves": rollout.waves} | learnt.get("result", {}))


def _check_champion(doing: Doing) -> None:
    """See that the candidate would take the place of the version that it was held against.

    Raises:
        ConflictError: Another version serves by now.
    """
    served = served_versions(doing.session, doing.run.model)
    number = max(served, key=lambda one: (served[one], one), default=doing.run.champion)
    if number != doing.run.champion:
        raise ConflictError(
            f"rolling out version {doing.run.candidate} of {doing.run.model}: version {number} serves most devices by "
            f"now, and the candidate was made from and held against version {doing.run.champion}",
            "have the policy begin anew, from the version that serves",
        )


def _learn(doing: Doing) -> dict[str, dict[str, Any]]:
    """Have the drift that began the run count as known to the candidate, if it did and if the candidate was trained."""
    drifted = [one["facts"] for one in _holding(doing.run, "drift")]
    if not drifted or doing.run.champion is None:
        return {}
    row, why_not = accept_inputs(
        doing.session,
        doing.run.model,
        seen_by=doing.run.champion,
        version=doing.candidate.number,
        devices=sorted({device for facts in drifted for device in facts["devices"]}),
        since=captured_since(doing, timedelta(0)),
        min_samples=THRESHOLDS.min_samples,
        by=doing.by,
        now=doing.now,
    )
    if row is None:
        return {"result": {"accepted": why_not}}
    told = f"what {len(row.devices)} devices saw, {row.samples} samples, counts as known to version {row.version}"
    return {"links": {"accepted_inputs": row.id}, "result": {"accepted": told}}


def _roll_back(doing: Doing) -> Begun:
    wanted = select(Rollout.id).where(Rollout.model == doing.run.model).order_by(col(Rollout.created_at).desc())
    newest = doing.session.exec(wanted.limit(1)).first()
    if newest is None:
        raise ConflictError(f"rolling {doing.run.model} back: nothing of it was rolled out", "roll a version out first")
    rollout = find_rollout(doing.session, newest, is_locked=True)
    result = {"from_version": rollout.version}
    roll_back(doing.session, rollout, by=doing.by, now=doing.now)
    return Begun({"rollout": rollout.id}, result)


def _notify(doing: Doing, body: NotifyStep) -> Begun:
    run = doing.run
    made = f"; version {run.candidate} was made" if run.candidate is not None else ""
    why = run.trigger.get("reason", "")
    told = notify(
        doing.session,
        key=f"automation/{run.id}/{doing.step.position}/{doing.step.attempt}",
        subject=doing.by,
        title=f"{run.policy}: {body.text or f'{run.model} was acted on'}",
        text=f"It began as {why}{made}. The whole story: shoal automation explain {run.id}",
        severity=body.severity,
        labels={"policy": run.policy, "model": run.model, "run": run.id},
        channels=body.channels,
        now=utc_now(),
    )
    return Begun({"deliveries": told}, {"told": len(told)})
