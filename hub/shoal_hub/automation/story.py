"""Tells a run's story in plain sentences with times: what began it, why each step was taken, what it came to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from shoal_hub.automation.tables import AutomationRun, AutomationStep, StepApproval

_VERBS: Final[dict[str, str]] = {
    "capture": "ask devices for samples",
    "federated": "train on the devices",
    "retrain": "train at the hub",
    "recompress": "make variants for the devices",
    "compare": "compare on held-out samples",
    "trial": "try it on the devices",
    "roll_out": "roll it out",
    "roll_back": "roll back",
    "notify": "tell people",
}
_STATES: Final[dict[str, str]] = {
    "done": "That is done",
    "rejected": "The candidate was rejected",
    "failed": "That failed",
    "stopped": "That was stopped",
}
_NAMED: Final = 10
_LINKS: Final[tuple[str, ...]] = ("federated_run", "job", "trial", "rollout", "accepted_inputs")


class Line(BaseModel):
    """One sentence of a story."""

    at: datetime
    text: str
    links: dict[str, str] = {}
    """What it speaks of, by kind: job, rollout, trial, …"""


def tell(run: AutomationRun, steps: Sequence[AutomationStep], approvals: Sequence[StepApproval]) -> list[Line]:
    """Return a run's story, in order."""
    lines = [_beginning(run)]
    for step in steps:
        lines += _step(step, [one for one in approvals if one.position == step.position])
    if run.ended_at is not None:
        lines.append(Line(at=run.ended_at, text=f"The run {run.state}: {run.reason}."))
    return sorted(lines, key=lambda line: line.at)


def _beginning(run: AutomationRun) -> Line:
    conditions: list[dict[str, Any]] = run.trigger.get("conditions", [])
    signals = [signal for one in conditions if one["holds"] for signal in one["facts"].get("signals", [])]
    devices = [device for one in conditions if one["holds"] for device in one["facts"].get("devices", [])]
    others = " and others" if len(devices) > _NAMED else ""
    named = f" The devices are {', '.join(devices[:_NAMED])}{others}." if devices else ""
    text = f"{run.policy} (revision {run.revision}) began, as {run.trigger.get('reason', '')}.{named}"
    return Line(at=run.created_at, text=text, links={"signal": signals[0]} if signals else {})


def _step(step: AutomationStep, approvals: Sequence[StepApproval]) -> list[Line]:
    verb, lines = _VERBS[step.kind], []
    if step.waiting_since is not None:
        lines.append(Line(at=step.waiting_since, text=f"To {verb} waited for people's approval."))
    for one in approvals:
        said = f": {one.comment}" if one.comment else ""
        lines.append(Line(at=one.at, text=f"{one.name} approved to {verb}{said}."))
    links = {name: str(step.links[name]) for name in _LINKS if name in step.links}
    if step.begun_at is not None:
        lines.append(Line(at=step.begun_at, text=f"It began to {verb}, because {step.why}.", links=links))
    if step.ended_at is not None:
        lines.append(Line(at=step.ended_at, text=_ending(step), links=links))
    return lines


def _ending(step: AutomationStep) -> str:
    verdict = (step.result.get("verdict") or {}).get("reason")
    reason = verdict or step.result.get("reason")
    accepted = step.result.get("accepted")
    more = f" Besides, {accepted}." if accepted and step.state == "done" else ""
    return f"{_STATES[step.state]} ({step.kind}){f': {reason}' if reason else ''}.{more}"
