"""Trials as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import DeviceId, Name
from shoal_contract.reported import Problem
from shoal_hub.requests import Line
from shoal_hub.trials.tables import TrialArm, TrialMode, TrialSplit, TrialState

MAX_DURATION_S = 90 * 86_400.0


class TrialRequest(BaseModel):
    """What to try, against what, on which devices and how."""

    model: Name
    version: Line
    """The candidate: number, `latest`, stage or alias."""
    against: Annotated[int, Field(ge=1)] | None = None
    """The version that serves; left out, the one that most of the devices serve."""
    mode: TrialMode = "shadow"
    split: TrialSplit = "key"
    """Of an A/B trial: each device is on one side as a whole, or each request by its key (header `Shoal-Key`)."""
    share: float = Field(default=0.1, gt=0, le=1)
    """Of the requests in shadow; of the devices or keys that get the candidate in an A/B trial."""
    devices: Annotated[list[DeviceId], Field(max_length=100_000)] | None = None
    """Left out, all that are enrolled and serve `against`."""
    duration_s: float = Field(default=7 * 86_400.0, ge=60, le=MAX_DURATION_S)
    """It ends by itself after this."""
    stop_after_samples: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """It ends as soon as each side has seen so many samples."""
    stop_on_harm: bool = False
    """An A/B trial ends as soon as the candidate is shown to be worse."""
    max_cpu_share: float = Field(default=0.25, gt=0, le=64)
    """Seconds that a candidate in shadow may run in each second, on a device."""
    max_memory_bytes: int = Field(default=512 * 1024 * 1024, ge=1024 * 1024, le=2**50)
    """What an agent may grow by when it loads the candidate."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of outputs that choose no label: the largest absolute difference that counts as agreement."""
    hard_examples: int = Field(default=0, ge=0, le=16)
    """Inputs on which the two disagree that each device may send of a window, where its owner allows it."""

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.mode == "shadow" and self.split == "device":
            msg = "split: a trial in shadow has no sides to split devices into; leave it out"
            raise ValueError(msg)
        return self


class TrialSummary(BaseModel):
    """A trial."""

    id: str
    model: str
    version: int
    against: int
    mode: TrialMode
    split: TrialSplit
    share: float
    stop_after_samples: int | None
    stop_on_harm: bool
    state: TrialState
    reason: str
    created_by: str
    created_at: datetime
    ends_at: datetime
    ended_at: datetime | None


class ArmResult(BaseModel):
    """What one version saw in an A/B trial, on all of its devices together.

    `p50_ms` and `p95_ms` are upper edges of the histogram's bin in which the quantile lies; None beyond the last edge,
    or without requests.
    """

    arm: TrialArm
    version: int
    devices: int
    requests: int
    errors: int
    error_rate: float | None
    samples: int
    labelled: int
    """Samples whose true label came back."""
    accuracy: float | None
    """Of those, the share that was predicted right."""
    p50_ms: float | None
    p95_ms: float | None
    mean_confidence: float | None


class Effect(BaseModel):
    """The candidate's value less the serving version's, devices as the unit, with an interval that holds at any time.

    All intervals of a trial together hold with `confidence`. Numbers are None where there is too little for a test.
    """

    metric: str
    unit: str
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    verdict: Literal["advance", "hold", "abort", "not_tested"]
    """As a gate would say it: no worse than by the margin, undecided, harmful, too little for a test."""
    reason: str


class TrialResults(BaseModel):
    """What both sides of an A/B trial have come to; none of a trial in shadow."""

    arms: list[ArmResult] = []
    effects: list[Effect] = []


class ShadowResult(BaseModel):
    """How often the candidate disagreed, over all devices; the interval is Wilson's at 95 %, requests as the unit."""

    devices: int
    compared: int
    disagreed: int
    disagreement_rate: float | None
    low: float | None
    high: float | None
    errors: int
    skipped: int
    p95_ms: float | None
    labelled: int = 0
    """Compared samples whose true label came back."""
    accuracy: float | None = None
    """Of the candidate on these."""
    against_accuracy: float | None = None
    """Of the version that serves, on the same ones."""


class HardExamplePublic(BaseModel):
    """An input on which the two versions chose different labels."""

    device_id: str
    at: datetime
    data: str
    label: int
    candidate_label: int
    confidence: float
    candidate_confidence: float


class TrialDevicePublic(BaseModel):
    """A device of a trial, and what it says of it."""

    device_id: str
    arm: TrialArm
    target: str
    state: str
    """Of its section: applied, working, held, failed; empty in control and until it has said."""
    problem: str


class TrialDetail(TrialSummary):
    """A trial with what it has come to."""

    is_waiting_for_deltas: bool
    """No device is told yet, as less may have to travel soon."""
    devices: list[TrialDevicePublic]
    arms: list[ArmResult]
    effects: list[Effect]
    shadow: ShadowResult | None
    examples: list[HardExamplePublic]


class MisfitPublic(BaseModel):
    """A device that a trial does not fit, and why."""

    device_id: str
    problem: Problem


class StartedTrial(TrialDetail):
    """A trial that was just started, with the devices that were left out."""

    misfits: list[MisfitPublic]
