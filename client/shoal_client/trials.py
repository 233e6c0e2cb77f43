"""Trials: what the API says of them, and its routes as methods."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from shoal_client.fleet import Problem, Value
from shoal_client.transport import Transport

Mode = Literal["shadow", "ab"]
Arm = Literal["candidate", "control", "both"]


class Trial(Value):
    """A version that runs beside the one that serves."""

    id: str
    model: str
    version: int
    against: int
    mode: Mode
    split: Literal["device", "key"]
    share: float
    stop_after_samples: int | None
    stop_on_harm: bool
    state: Literal["running", "ended"]
    reason: str
    created_by: str
    created_at: datetime
    ends_at: datetime
    ended_at: datetime | None


class ArmResult(Value):
    """One side of an A/B trial over all of its devices; latencies in milliseconds."""

    arm: Arm
    version: int
    devices: int
    requests: int
    errors: int
    error_rate: float | None
    samples: int
    labelled: int = 0
    """Samples whose true label came back."""
    accuracy: float | None = None
    p50_ms: float | None
    p95_ms: float | None
    mean_confidence: float | None


class Effect(Value):
    """The candidate's value less the serving version's, with an interval that holds at any time.

    Numbers are None where there is too little for a test; `verdict` is a gate's.
    """

    metric: str
    unit: str
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    verdict: Literal["advance", "hold", "abort", "not_tested"]
    reason: str


class ShadowResult(Value):
    """How often the candidate in shadow disagreed, with its interval at 95 %."""

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
    """Compared samples whose true label came back; both accuracies are on these."""
    accuracy: float | None = None
    against_accuracy: float | None = None


class HardExample(Value):
    """An input on which the two versions chose different labels; `data` is base64 of float32, little-endian."""

    device_id: str
    at: datetime
    data: str
    label: int
    candidate_label: int
    confidence: float
    candidate_confidence: float


class TrialDevice(Value):
    """A device of a trial, and what it says of it."""

    device_id: str
    arm: Arm
    target: str
    state: str
    problem: str


class TrialDetail(Trial):
    """A trial with what it has come to; while it waits for deltas, no device is told of it."""

    is_waiting_for_deltas: bool = False
    devices: list[TrialDevice]
    arms: list[ArmResult]
    effects: list[Effect]
    shadow: ShadowResult | None
    examples: list[HardExample]


class Misfit(Value):
    """A device that a trial does not fit, and why."""

    device_id: str
    problem: Problem


class StartedTrial(TrialDetail):
    """A trial that was just started, with the devices that were left out."""

    misfits: list[Misfit] = Field(default_factory=list)


class Trials:
    """Trials of the fleet; at most one runs for a model."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, model: str = "") -> list[Trial]:
        """List trials, newest first."""
        return self._transport.call("GET", "/trials", list[Trial], params={"model": model})

    def show(self, trial_id: str) -> TrialDetail:
        """Return one trial with what it has come to."""
        return self._transport.call("GET", f"/trials/{trial_id}", TrialDetail)

    def start(
        self,
        model: str,
        version: str,
        *,
        against: int | None = None,
        mode: Mode = "shadow",
        devices: Sequence[str] | None = None,
        **more: float | str | None,
    ) -> StartedTrial:
        """Start a trial; devices that it does not fit are left out.

        Args:
            model: Name of the model.
            version: The candidate: number, `latest`, stage or alias.
            against: The version that serves; None for the one that most devices serve.
            mode: In shadow nobody gets the candidate's answers; `ab` splits devices or request keys.
            devices: Ids; None for all that serve `against`.
            **more: Further fields of the API's TrialRequest; those that are None are left out.
        """
        body = {"model": model, "version": version, "against": against, "mode": mode, "devices": devices} | more
        given = {name: value for name, value in body.items() if value is not None}
        return self._transport.call("POST", "/trials", StartedTrial, json=given)

    def stop(self, trial_id: str) -> TrialDetail:
        """End a trial; its devices let the candidate go."""
        return self._transport.call("POST", f"/trials/{trial_id}/stop", TrialDetail)
