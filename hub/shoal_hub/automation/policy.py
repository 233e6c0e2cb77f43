"""A policy: when to act, what to do then, and within which guard rails. Pure values, as people and files state them."""

from datetime import time
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from shoal_contract.ids import Name
from shoal_hub.automation.conditions import Condition, Ratio, Samples
from shoal_hub.automation.steps import (
    MAKES_CANDIDATE,
    NEEDS_CANDIDATE,
    CompareStep,
    FederatedStep,
    PolicyStep,
    StepKind,
)
from shoal_hub.requests import Line

MAX_CONDITIONS: Final = 8
MAX_STEPS: Final = 16
_WEEK_S: Final = 7 * 86_400.0
_YEAR_S: Final = 365 * 86_400.0
_Margin = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_LEAVES_HUB: Final[frozenset[str]] = frozenset({"trial", "roll_out"})
"""Steps that bring a candidate to devices."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Value):
    """What all runs of the policy together may take in a stretch of time; a limit that is left out does not hold."""

    per_s: Annotated[float, Field(ge=60, le=_YEAR_S, allow_inf_nan=False)] = _WEEK_S
    runs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    rounds: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Federated rounds."""
    device_minutes: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    """Minutes that devices have trained, all of them together; no run begins beyond it."""


class HeldOutGuard(_Value):
    """What the candidate has to show on samples that no training has seen, measured at the hub.

    Captured samples with a true label decide where there are `min_samples`; then the bundle's held-out samples may
    lose `max_loss`. Where there are fewer, the bundle's decide alone.
    """

    margin: _Margin = 0.0
    """Its accuracy has to be above the champion's by more than this."""
    max_loss: Ratio = 0.02
    min_samples: Samples = 100
    captured_s: Annotated[float, Field(gt=0, le=30 * 86_400.0)] = _WEEK_S
    """Captured samples that were taken so long before the run began; where drift began it, since that was seen."""


class TrialGuard(_Value):
    """What the candidate has to show on the devices, in the trial, on the same requests as the champion."""

    margin: _Margin = 0.0
    """Its accuracy on labelled requests has to be above the champion's by more than this; at -1 only errors count."""
    min_samples: Samples = 100
    """Labelled samples that the trial needs at least; with fewer the candidate is not let through."""
    min_samples_each: Annotated[int, Field(ge=0, le=10**9)] = 10
    """And of each device in shadow, before the trial ends early: the first to come are not all of the fleet."""
    max_error_rate: Ratio = 0.01
    """Requests that the candidate could not answer, of those that it saw."""


class BeatChampion(_Value):
    """That no candidate goes on that is not better than what serves."""

    metric: Literal["accuracy"] = "accuracy"
    held_out: HeldOutGuard | None = HeldOutGuard()
    trial: TrialGuard | None = Field(default=None, alias="shadow")
    """What has to be shown in the step `trial`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class QuietHours(_Value):
    """A time of each day in which no run begins; it may go past midnight."""

    start: time
    end: time
    timezone: Annotated[str, Field(max_length=64)] = "UTC"

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            msg = f"quiet_hours: no time zone {value!r}; name one like Europe/Berlin"
            raise ValueError(msg) from error
        return value


class Guards(_Value):
    """What holds a policy back."""

    cool_down_s: Annotated[float, Field(ge=0, le=_YEAR_S, allow_inf_nan=False)] = 86_400.0
    """From the end of a run to the beginning of the next one."""
    budget: Budget = Budget(runs=2)
    approval: Annotated[tuple[StepKind, ...], Field(max_length=MAX_STEPS)] = ()
    """Steps that wait until a person approves; a rollout also waits for as many as the model's own policy asks for."""
    approval_wait_s: Annotated[float, Field(ge=60, le=_YEAR_S)] = _WEEK_S
    """How long a step waits for that; then the run has failed."""
    beat_champion: BeatChampion | None = BeatChampion()
    quiet_hours: QuietHours | None = None
    step_timeout_s: Annotated[float, Field(ge=60, le=_YEAR_S)] = 30 * 86_400.0
    """How long one step may take; then the run has failed."""


class Policy(_Value):
    """When to act on a model, what to do then, and what holds it back."""

    name: Name
    model: Name
    description: Line = ""
    when: Annotated[tuple[Condition, ...], Field(min_length=1, max_length=MAX_CONDITIONS)]
    """Any of them will do."""
    then: Annotated[tuple[PolicyStep, ...], Field(min_length=1, max_length=MAX_STEPS)]
    guards: Guards = Guards()

    @field_validator("when", mode="before")
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        kinds = [step.kind for step in self.then]
        makers = [at for at, kind in enumerate(kinds) if kind in MAKES_CANDIDATE]
        if len(makers) > 1:
            msg = f"then: {kinds[makers[1]]} after {kinds[makers[0]]}: a run makes one candidate"
            raise ValueError(msg)
        for at, kind in enumerate(kinds):
            if kind in NEEDS_CANDIDATE and not (makers and makers[0] < at):
                msg = f"then: {kind} has no candidate; put `federated` or `retrain` before it"
                raise ValueError(msg)
        for kind in ("recompress", "trial", "roll_out", "roll_back", "compare"):
            if kinds.count(kind) > 1:
                msg = f"then: {kind} is there {kinds.count(kind)} times, once at most expected"
                raise ValueError(msg)
        self._check_recompressed(kinds)
        self._check_trial(kinds)
        return self

    def _check_recompressed(self, kinds: list[StepKind]) -> None:
        first = next((at for at, kind in enumerate(kinds) if kind in _LEAVES_HUB), None)
        if first is not None and "recompress" not in kinds[:first]:
            msg = f"then: {kinds[first]} before recompress: the candidate has no variant that a device could run"
            raise ValueError(msg)
        if "roll_back" in kinds and "roll_out" in kinds:
            msg = "then: roll_back and roll_out in one policy; make two, of which one brings and one takes back"
            raise ValueError(msg)

    def _check_trial(self, kinds: list[StepKind]) -> None:
        beat = self.guards.beat_champion
        if beat is None or beat.trial is None or "roll_out" not in kinds:
            return
        if "trial" not in kinds[: kinds.index("roll_out")]:
            msg = "guards: beat_champion.shadow asks for a trial before roll_out, and there is none in `then`"
            raise ValueError(msg)

    def plan(self) -> tuple[PolicyStep, ...]:
        """Return a run's steps: those of `then`, with the comparison on held-out samples before anything goes out."""
        beat = self.guards.beat_champion
        kinds = [step.kind for step in self.then]
        if beat is None or beat.held_out is None or "compare" in kinds:
            return self.then
        at = next((place for place, kind in enumerate(kinds) if kind in _LEAVES_HUB), None)
        if at is None:
            return self.then
        return (*self.then[:at], CompareStep(), *self.then[at:])

    def rounds(self) -> int:
        """Return how many federated rounds one run plays."""
        return sum(step.rounds for step in self.then if isinstance(step, FederatedStep))
