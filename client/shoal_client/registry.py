"""What the API says of models, versions, variants, jobs and federated runs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal_client.fleet import Problem, Value

Stage = Literal["none", "staging", "production", "archived"]


class Variant(Value):
    """A version compressed for one target, with what was measured of it."""

    target: str
    runtime: str
    format: str
    precision: str
    sha256: str
    size_bytes: int
    encrypted_sha256: str | None
    encrypted_size_bytes: int | None
    accuracy: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    golden_tolerance: float
    report: dict[str, Any]
    created_at: datetime


class Version(Value):
    """A version in a list."""

    model: str
    number: int
    stage: Stage
    aliases: list[str]
    algorithm: str
    author: str
    framework: str
    metrics: dict[str, float]
    tags: list[str]
    targets: list[str]
    is_encrypted: bool
    created_at: datetime
    created_by: str


class Tensor(Value):
    """Name, datatype and shape of an input or output; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class Provenance(Value):
    """Where a version comes from."""

    source_sha256: str
    data_sha256: str
    parent_version: int | None = None
    federated_run: str | None = None
    recipe: dict[str, str] = Field(default_factory=dict)


class VersionDetail(Version):
    """One version with its variants; `files` are the hashes of its bundle's files."""

    parameters: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]
    batching: str | None = None
    """`none`: a request is one sample; None: samples lie along the first axis."""
    labels: list[str]
    provenance: Provenance
    files: dict[str, str]
    licence: str = ""
    warnings: list[str] = Field(default_factory=list)
    code: dict[str, Any] | None = None
    provenance_sha256: str | None = None
    bom_sha256: str | None = None
    manifest_sha256: str | None
    variants: list[Variant]


class Statement(Value):
    """A signed in-toto statement; `target` is empty for the version's own. `sha256` names the envelope's artifact."""

    target: str
    sha256: str
    statement: dict[str, Any]
    envelope: dict[str, Any]


class SliceMetric(Value):
    """One metric on one part of the data."""

    slice: str
    metric: str
    value: float
    samples: int | None = None


class ModelCard(Value):
    """What the makers of a version say about it."""

    intended_use: str = ""
    out_of_scope_use: str = ""
    data: str = ""
    metrics_by_slice: list[SliceMetric] = Field(default_factory=list)
    limits: str = ""
    ethical_notes: str = ""
    licence: str = ""
    owner: str = ""
    contact: str = ""


class VariantFigures(Value):
    """What was measured of one variant."""

    target: str
    precision: str
    technique: str
    size_bytes: int
    accuracy: float | None
    latency_p50_ms: float | None
    sha256: str


class VersionCard(Value):
    """The model card of a version, with what was measured of it."""

    model: str
    version: int
    created_at: datetime
    author: str
    algorithm: str
    framework: str
    metrics: dict[str, float]
    original_bytes: int
    data_sha256: str
    card: ModelCard
    variants: list[VariantFigures]
    warnings: list[str]


class RolloutPolicy(Value):
    """The rollout that starts when a version becomes production."""

    waves: list[int] = Field(default_factory=list)
    max_failures: int = 0
    timeout_s: float = 600.0


class Model(Value):
    """A model in a list."""

    name: str
    description: str
    versions: int
    latest: int | None
    production: int | None
    created_at: datetime


class ModelDetail(Model):
    """One model with its versions, newest first."""

    aliases: dict[str, int]
    rollout_on_production: RolloutPolicy | None
    encrypt_versions: bool
    version_list: list[Version]


class StageChange(Value):
    """One move of a version through the stages."""

    number: int
    from_stage: Stage
    to_stage: Stage
    by: str
    at: datetime
    comment: str


class StageMoved(Value):
    """A version after its move, and the rollout that the model's policy started."""

    version: VersionDetail
    rollout: str | None


class Job(Value):
    """A job; `progress` runs from 0 to 1 within the stage that `message` names."""

    id: str
    kind: str
    subject: str
    state: Literal["queued", "running", "succeeded", "failed"]
    progress: float
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in {"succeeded", "failed"}


class FederatedRun(Value):
    """A federated run; `history` has one entry a round."""

    id: str
    model: str
    base_version: int
    dataset: str
    devices: list[str]
    rounds: int
    min_devices: int
    epochs: int
    batch_size: int
    learning_rate: float
    update_scheme: str
    parent_share: float
    deadline_s: float
    state: str
    current_round: int
    history: list[dict[str, Any]]
    result_version: int | None
    job_id: str
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether no further round will come."""
        return self.state != "running"


class RoundAnswer(Value):
    """What one device answered in one round."""

    round: int
    device_id: str
    outcome: str
    examples: int
    update_bytes: int
    loss_before: float | None
    loss_after: float | None
    duration_s: float
    peak_memory_bytes: int
    problem: Problem | None
    received_at: datetime


class FederatedRunDetail(FederatedRun):
    """A federated run with every device's answers."""

    answers: list[RoundAnswer]
