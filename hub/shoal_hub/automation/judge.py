"""Judges a candidate against the champion: on held-out samples at the hub, and in a trial on the devices. Pure."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_hub.automation.decide import Verdict
from shoal_hub.automation.policy import HeldOutGuard, TrialGuard

Source = Literal["bundle", "captured"]


class Score(BaseModel):
    """How many samples of one source two versions predicted right, run in one form.

    `bundle`: the held-out samples of the champion's bundle; `captured`: those that devices sent with a true label.
    `form` is `original`, or the target for which both have a variant.
    """

    model_config = ConfigDict(frozen=True)

    source: Source
    form: str
    samples: int = Field(ge=0)
    champion: int = Field(ge=0)
    candidate: int = Field(ge=0)

    @property
    def gain(self) -> float:
        """The candidate's accuracy less the champion's."""
        return (self.candidate - self.champion) / self.samples if self.samples else 0.0

    def __str__(self) -> str:
        """Say it in a few words."""
        if not self.samples:
            return f"no {self.source} samples"
        before, after = self.champion / self.samples, self.candidate / self.samples
        return f"{before:.3f} → {after:.3f} on {self.samples} {self.source} samples ({self.form})"


class TrialCounts(BaseModel):
    """What a trial came to; in shadow both versions are counted on the same labelled samples."""

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    """That the candidate saw."""
    errors: int = 0
    """Of these, not answered."""
    disagreed: int = 0
    labelled: int = 0
    correct: int = 0
    """Of the candidate."""
    against_labelled: int = 0
    against_correct: int = 0
    least_labelled: int = 0
    """Of the device in shadow that has fewest, those left out that have failed."""


def judge_held_out(guard: HeldOutGuard, scores: Sequence[Score]) -> Verdict:
    """Return whether a candidate passes on held-out samples, in each form in which both versions were run."""
    facts = {"scores": [one.model_dump() for one in scores]}
    captured = [one for one in scores if one.source == "captured" and one.samples >= guard.min_samples]
    bundle = [one for one in scores if one.source == "bundle" and one.samples > 0]
    decisive = captured or [one for one in bundle if one.samples >= guard.min_samples]
    if not decisive:
        most = max((one.samples for one in scores), default=0)
        reason = f"{most} held-out samples, at least {guard.min_samples} are asked for"
        return Verdict(name="beat_champion.held_out", holds=False, reason=reason, facts=facts)
    worst = min(decisive, key=lambda one: one.gain)
    if worst.gain <= guard.margin:
        reason = f"the candidate does not beat the champion: accuracy {worst}, more than {guard.margin:+.3f} asked for"
        return Verdict(name="beat_champion.held_out", holds=False, reason=reason, facts=facts)
    lost = min(bundle, key=lambda one: one.gain, default=worst)
    if captured and lost.gain < -guard.max_loss:
        reason = f"the candidate forgets: accuracy {lost}, at most {guard.max_loss:.3f} may be lost"
        return Verdict(name="beat_champion.held_out", holds=False, reason=reason, facts=facts)
    kept = f", and {lost}" if captured and bundle else ""
    reason = f"the candidate beats the champion: accuracy {worst}{kept}"
    return Verdict(name="beat_champion.held_out", holds=True, reason=reason, facts=facts)


def judge_trial(guard: TrialGuard, counts: TrialCounts, mode: str) -> Verdict:
    """Return whether a candidate passes after a trial on the devices."""
    name, facts = "beat_champion.shadow", counts.model_dump()

    def refuse(reason: str) -> Verdict:
        return Verdict(name=name, holds=False, reason=reason, facts=facts)

    rate = counts.errors / counts.requests if counts.requests else 0.0
    if rate > guard.max_error_rate:
        return refuse(f"the candidate left {rate:.2%} of {counts.requests} requests unanswered in {mode}")
    labelled = min(counts.labelled, counts.against_labelled)
    if labelled < guard.min_samples:
        return refuse(f"{labelled} labelled samples in {mode}, at least {guard.min_samples} are asked for")
    candidate, champion = counts.correct / counts.labelled, counts.against_correct / counts.against_labelled
    told = f"accuracy {champion:.3f} → {candidate:.3f} on {labelled} labelled samples in {mode}"
    if candidate - champion <= guard.margin:
        return refuse(f"the candidate does not beat the champion: {told}, more than {guard.margin:+.3f} asked for")
    return Verdict(name=name, holds=True, reason=f"the candidate beats the champion: {told}", facts=facts)


def has_enough(guard: TrialGuard | None, counts: TrialCounts) -> bool:
    """Whether a trial has seen what its guard asks for, and can end."""
    if guard is None or counts.least_labelled < guard.min_samples_each:
        return False
    return min(counts.labelled, counts.against_labelled) >= guard.min_samples
