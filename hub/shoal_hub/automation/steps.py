"""The *then* of a policy: what may be done, step by step. A closed set, told apart by `kind`."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal_contract.ids import Name
from shoal_hub.alerts.tables import AlertSeverity
from shoal_hub.requests import Line
from shoal_hub.rollouts.request import RolloutPlan

_DAY_S: Final = 86_400.0
MAX_EPOCHS: Final = 1000
Seconds = Annotated[float, Field(gt=0, le=30 * _DAY_S, allow_inf_nan=False)]


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaptureStep(_Step):
    """Have devices send samples for a time, or until there are enough labelled ones.

    It ends well also with fewer: what is judged later says how many it needs.
    """

    kind: Literal["capture"] = "capture"
    for_s: Seconds = 3600.0
    until_labelled: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Ends as soon as so many samples with a true label have come that were taken since the run began, or, where drift
    began it, since that was seen."""
    max_samples_per_day: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Of each device."""
    max_bytes_per_day: Annotated[int, Field(ge=1, le=10_000_000_000)] = 10_000_000
    after_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 60.0
    """How old a sample is before it is sent: its true label has so long to come back."""


class FederatedStep(_Step):
    """Run federated rounds from the champion; the candidate is what they come to."""

    kind: Literal["federated"] = "federated"
    dataset: Name | None = None
    """Named like the model where it is left out."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    min_devices: Annotated[int, Field(ge=1, le=10_000)] = 2
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.05
    update_scheme: Literal["float32", "int8"] = "float32"
    parent_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """How much of the champion's weights the candidate keeps, against forgetting."""
    deadline_s: Annotated[float, Field(ge=1, le=604_800)] = 600.0
    """Of each round."""


class RetrainStep(_Step):
    """Fine-tune the champion at the hub on its registered training data and on labelled samples that were captured."""

    kind: Literal["retrain"] = "retrain"
    min_labelled: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    """Captured samples with a true label that it needs."""
    captured_s: Seconds = 7 * _DAY_S
    """Samples that were taken so long before the run began; where drift began it, since that was seen."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 5
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.05
    parent_share: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class RecompressStep(_Step):
    """Make the candidate's variants for the targets that devices use of the champion."""

    kind: Literal["recompress"] = "recompress"
    techniques: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """None: those by which the champion's variants in use were made."""


class TrialStep(_Step):
    """Try the candidate beside the champion on the devices, see the guide on trials."""

    kind: Literal["trial"] = "trial"
    mode: Literal["shadow", "ab"] = "shadow"
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of the requests in shadow, of the keys in A/B."""
    duration_s: Annotated[float, Field(ge=60, le=30 * _DAY_S)] = _DAY_S
    """It ends after this, or as soon as the guard has as many samples as it asks for."""
    max_cpu_share: Annotated[float, Field(gt=0, le=64)] = 0.25
    max_memory_bytes: Annotated[int, Field(ge=1024 * 1024, le=2**50)] = 512 * 1024 * 1024


class RollOutStep(RolloutPlan):
    """Roll the candidate out, by the fields of a rollout's plan: waves, gate, soak time, thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["roll_out"] = "roll_out"
    learns_drift: bool = True
    """Where drift began the run and the candidate was trained since: what devices saw then counts as known to the
    candidate, so that it is no drift of its inputs any more."""


class RollBackStep(_Step):
    """Take the model's newest rollout back, where it has succeeded, runs or is paused."""

    kind: Literal["roll_back"] = "roll_back"


class NotifyStep(_Step):
    """Tell people by the alert channels."""

    kind: Literal["notify"] = "notify"
    channels: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """None: every channel that is enabled."""
    severity: AlertSeverity = "info"
    text: Line = ""
    """Before what the run has come to."""


class CompareStep(_Step):
    """Hold the candidate against the champion on held-out samples; the guard `beat_champion.held_out` adds it."""

    kind: Literal["compare"] = "compare"


PolicyStep = Annotated[
    CaptureStep
    | FederatedStep
    | RetrainStep
    | RecompressStep
    | TrialStep
    | RollOutStep
    | RollBackStep
    | NotifyStep
    | CompareStep,
    Field(discriminator="kind"),
]
StepKind = Literal[
    "capture", "federated", "retrain", "recompress", "compare", "trial", "roll_out", "roll_back", "notify"
]
MAKES_CANDIDATE: Final[frozenset[str]] = frozenset({"federated", "retrain"})
NEEDS_CANDIDATE: Final[frozenset[str]] = frozenset({"recompress", "compare", "trial", "roll_out"})
