"""Decides whether a policy begins a run: (policy, facts, history, clock) to a decision with its reasons. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from shoal_hub.automation.conditions import AccuracyWhen, Condition, DriftWhen, LabelsWhen, ScheduleWhen, VolumeWhen
from shoal_hub.automation.policy import Policy, QuietHours
from shoal_hub.words import counted

GuardName = Literal["one_run", "cool_down", "budget", "quiet_hours", "author", "model_busy"]
_NAMED = 5


@dataclass(frozen=True)
class DriftFact:
    """An active signal of a version that serves: by which rule, where, by what, since when."""

    signal: str
    rule: str
    version: int
    devices: frozenset[str]
    features: tuple[str, ...]
    raised_at: datetime
    device_count: int = 0
    """Where the devices themselves are known no more; else 0."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model at one time.

    Attributes:
        champion: The version that serves on most devices; None: none does.
        serving: Devices that serve the model.
        drift: Active signals of versions that serve.
        labelled: By each length of time that a condition asks for, seconds: labels of the champion that came back.
        correct: Of those, predicted right.
        reference_accuracy: Of the champion on its held-out samples; None where it is not known.
        captured: Captured samples since the newest version or the policy's last run.
        labels_since: Labels that came back since then.
        author_may: Whether who has set the policy may still do what it does.
        busy: What stands in the way on the model: a rollout, trial or federated run that is not the policy's; empty:
            nothing.
    """

    champion: int | None = None
    serving: int = 0
    drift: tuple[DriftFact, ...] = ()
    labelled: dict[float, int] = field(default_factory=dict)
    correct: dict[float, int] = field(default_factory=dict)
    reference_accuracy: float | None = None
    captured: int = 0
    labels_since: int = 0
    author_may: bool = True
    busy: str = ""


@dataclass(frozen=True)
class PastRun:
    """An earlier run of the policy, as budget and cool-down see it."""

    began_at: datetime
    ended_at: datetime | None
    rounds: int = 0
    device_minutes: float = 0.0


class Verdict(BaseModel):
    """Whether one condition or guard holds, why, and from which facts."""

    model_config = ConfigDict(frozen=True)

    name: str
    holds: bool
    reason: str
    facts: dict[str, Any] = {}


class Decision(BaseModel):
    """What a look at a policy came to. It fires if any condition holds and no guard holds it back."""

    model_config = ConfigDict(frozen=True)

    fires: bool
    conditions: tuple[Verdict, ...]
    guards: tuple[Verdict, ...]
    """Of a guard `holds` says that it lets the run begin."""

    @property
    def is_wanted(self) -> bool:
        """Whether a condition holds, whatever the guards say."""
        return any(one.holds for one in self.conditions)

    @property
    def outcome(self) -> Literal["fired", "held_back", "quiet"]:
        """In a word."""
        return "fired" if self.fires else ("held_back" if self.is_wanted else "quiet")

    @property
    def reason(self) -> str:
        """In a sentence: of the conditions that hold, or of all; and of the guards that hold it back."""
        told = [one.reason for one in self.conditions if one.holds or not self.is_wanted]
        if self.is_wanted:
            told += [f"held back: {one.reason}" for one in self.guards if not one.holds]
        return "; ".join(told)


def decide(policy: Policy, facts: Facts, history: Sequence[PastRun], since: datetime, now: datetime) -> Decision:
    """Return whether a run begins now, with the reasons.

    Args:
        policy: What was set.
        facts: What is known of the model.
        history: Its runs, in any order; those that are over for longer than budget and cool-down look back may be left
            out.
        since: When the policy was last enabled or changed: no schedule goes back beyond it.
        now: The clock.
    """
    conditions = tuple(_condition(one, facts, history, since, now) for one in policy.when)
    guards = (
        _one_run(history),
        _cool_down(policy, history, now),
        _budget(policy, history, now),
        _quiet(policy.guards.quiet_hours, now),
        _author(facts),
        _busy(facts),
    )
    fires = any(one.holds for one in conditions) and all(one.holds for one in guards)
    return Decision(fires=fires, conditions=conditions, guards=guards)


def _condition(
    condition: Condition, facts: Facts, history: Sequence[PastRun], since: datetime, now: datetime
) -> Verdict:
    match condition:
        case DriftWhen():
            return _drift(condition, facts, now)
        case AccuracyWhen():
            return _accuracy(condition, facts)
        case VolumeWhen():
            reason = f"{counted(facts.captured, 'captured sample')} came since, {condition.min_samples} are asked for"
            holds = facts.captured >= condition.min_samples
            return Verdict(name="data_volume", holds=holds, reason=reason, facts={"samples": facts.captured})
        case LabelsWhen():
            reason = f"{counted(facts.labels_since, 'label')} came since, {condition.min_labels} are asked for"
            holds = facts.labels_since >= condition.min_labels
            return Verdict(name="new_labels", holds=holds, reason=reason, facts={"labels": facts.labels_since})
        case ScheduleWhen():
            return _schedule(condition, history, since, now)


def _drift(condition: DriftWhen, facts: Facts, now: datetime) -> Verdict:
    old_enough = now - timedelta(seconds=condition.for_s)
    signals = [
        one
        for one in facts.drift
        if condition.rule in {"any", one.rule} and one.version == facts.champion and one.raised_at <= old_enough
    ]
    devices = frozenset().union(*(one.devices for one in signals))
    count = max(len(devices), max((one.device_count for one in signals), default=0))
    wanted = max(condition.min_devices, condition.min_share * facts.serving)
    features = list(dict.fromkeys(name for one in signals for name in one.features))
    known = {
        "signals": [one.signal for one in signals],
        "version": facts.champion,
        "devices": sorted(devices),
        "features": features,
        "serving": facts.serving,
        "raised_at": min((one.raised_at for one in signals), default=now).isoformat(),
    }
    if not signals:
        reason = f"no drift signal by the rule {condition.rule} is active for the version that serves"
        return Verdict(name="drift", holds=False, reason=reason, facts=known)
    told = ", ".join(features[:_NAMED]) or "no single feature"
    reason = (
        f"inputs of version {facts.champion} have drifted on {count} of {counted(facts.serving, 'device')}, led by "
        f"{told}; {wanted:g} are asked for"
    )
    return Verdict(name="drift", holds=count >= wanted, reason=reason, facts=known)


def _accuracy(condition: AccuracyWhen, facts: Facts) -> Verdict:
    labelled = facts.labelled.get(condition.over_s, 0)
    correct = min(labelled, facts.correct.get(condition.over_s, 0))
    known: dict[str, Any] = {"labelled": labelled, "correct": correct, "version": facts.champion}
    over = f"in the last {condition.over_s:g} s"
    if labelled < condition.min_labels:
        reason = f"{counted(labelled, 'label')} came back {over}, fewer than {condition.min_labels}"
        return Verdict(name="accuracy_drop", holds=False, reason=reason, facts=known)
    accuracy = correct / labelled
    bounds = [condition.below] if condition.below is not None else []
    if condition.drop is not None and facts.reference_accuracy is not None:
        bounds.append(facts.reference_accuracy - condition.drop)
    known |= {"accuracy": accuracy, "reference": facts.reference_accuracy}
    if not bounds:
        reason = f"accuracy is {accuracy:.3f}, and the version has none on held-out samples to fall below"
        return Verdict(name="accuracy_drop", holds=False, reason=reason, facts=known)
    bound = max(bounds)
    side = "below" if accuracy < bound else "not below"
    reason = f"accuracy of version {facts.champion} is {accuracy:.3f} on {labelled} labels {over}, {side} {bound:.3f}"
    return Verdict(name="accuracy_drop", holds=accuracy < bound, reason=reason, facts=known)


def _schedule(condition: ScheduleWhen, history: Sequence[PastRun], since: datetime, now: datetime) -> Verdict:
    last = max([since, *(run.began_at for run in history)])
    due_at = condition.next_after(last)
    word = f"cron {condition.cron}" if condition.cron is not None else f"every {condition.every_s:g} s"
    reason = f"by its schedule ({word}) it is due at {due_at.strftime('%Y-%m-%d %H:%M:%S')} UTC"
    return Verdict(name="schedule", holds=now >= due_at, reason=reason, facts={"due_at": due_at.isoformat()})


def _one_run(history: Sequence[PastRun]) -> Verdict:
    is_running = any(run.ended_at is None for run in history)
    reason = "a run of the policy goes on" if is_running else "no run of the policy goes on"
    return Verdict(name="one_run", holds=not is_running, reason=reason)


def _cool_down(policy: Policy, history: Sequence[PastRun], now: datetime) -> Verdict:
    ends = [run.ended_at for run in history if run.ended_at is not None]
    if not ends:
        return Verdict(name="cool_down", holds=True, reason="it has not run before")
    until = max(ends) + timedelta(seconds=policy.guards.cool_down_s)
    word = "is over since" if now >= until else "lasts until"
    reason = f"the cool-down of {policy.guards.cool_down_s:g} s {word} {until.strftime('%Y-%m-%d %H:%M:%S')} UTC"
    return Verdict(name="cool_down", holds=now >= until, reason=reason, facts={"until": until.isoformat()})


def _budget(policy: Policy, history: Sequence[PastRun], now: datetime) -> Verdict:
    budget = policy.guards.budget
    recent = [run for run in history if run.began_at > now - timedelta(seconds=budget.per_s)]
    runs, rounds = len(recent), sum(run.rounds for run in recent)
    minutes = sum(run.device_minutes for run in recent)
    known = {"runs": runs, "rounds": rounds, "device_minutes": round(minutes, 3)}
    over = f"in {budget.per_s:g} s"
    spent = []
    if budget.runs is not None and runs >= budget.runs:
        spent.append(f"{counted(runs, 'run')} of {budget.runs} {over}")
    if budget.rounds is not None and rounds + policy.rounds() > budget.rounds:
        spent.append(f"{counted(rounds, 'round')} {over} and {policy.rounds()} to come of {budget.rounds}")
    if budget.device_minutes is not None and minutes >= budget.device_minutes:
        spent.append(f"{minutes:.1f} device-minutes of {budget.device_minutes:g} {over}")
    reason = f"the budget is spent: {', '.join(spent)}" if spent else f"the budget leaves room: {runs} runs {over}"
    return Verdict(name="budget", holds=not spent, reason=reason, facts=known)


def _quiet(hours: QuietHours | None, now: datetime) -> Verdict:
    if hours is None:
        return Verdict(name="quiet_hours", holds=True, reason="there are no quiet hours")
    at = now.astimezone(ZoneInfo(hours.timezone)).time()
    is_within, is_past_midnight = hours.start <= at < hours.end, hours.start > hours.end
    is_quiet = (at >= hours.start or at < hours.end) if is_past_midnight else is_within
    word = "it is within" if is_quiet else "it is outside of"
    reason = f"{word} the quiet hours {hours.start:%H:%M} to {hours.end:%H:%M} {hours.timezone}"
    return Verdict(name="quiet_hours", holds=not is_quiet, reason=reason)


def _author(facts: Facts) -> Verdict:
    reason = "who has set it may do so" if facts.author_may else "who has set it may not do this any more; set it anew"
    return Verdict(name="author", holds=facts.author_may, reason=reason)


def _busy(facts: Facts) -> Verdict:
    return Verdict(name="model_busy", holds=not facts.busy, reason=facts.busy or "nothing else goes on with the model")
