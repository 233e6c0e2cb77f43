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
    low: float | None = None
    high: float | None = None
    is_small: bool = False


class MetricInterval(Value):
    """How far one of a version's metrics may be off, and over folds."""

    metric: str
    low: float | None = None
    high: float | None = None
    is_rising: bool = True
    fold_mean: float | None = None
    fold_deviation: float | None = None
    folds: int | None = None


class FeatureImportance(Value):
    """How much a model depends on one feature."""

    feature: str
    permutation: float | None = None
    shap: float | None = None


class Explained(Value):
    """What a model's answers depend on, the most important feature first."""

    importances: list[FeatureImportance] = Field(default_factory=list)
    metric: str = ""
    samples: int | None = None
    shap_method: str = ""
    shap_unit: str = ""
    shap_samples: int | None = None


class FairnessFigure(Value):
    """One difference between protected groups."""

    slice: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    is_within: bool = True


class ChampionFigures(Value):
    """A version beside the one that was in use; a difference above 0 says that it is better."""

    champion: str
    metric: str
    champion_value: float
    value: float
    difference: float
    low: float | None = None
    high: float | None = None
    margin: float = 0.0
    verdict: str
    p_value: float | None = None
    samples: int | None = None


class ModelCard(Value):
    """What the makers of a version say about it."""

    intended_use: str = ""
    out_of_scope_use: str = ""
    data: str = ""
    metrics_by_slice: list[SliceMetric] = Field(default_factory=list)
    metric_intervals: list[MetricInterval] = Field(default_factory=list)
    validation: str = ""
    explained: Explained | None = None
    fairness: list[FairnessFigure] = Field(default_factory=list)
    champion: ChampionFigures | None = None
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


Framework = Literal["nist-ai-rmf", "eu-ai-act"]


class ReportField(Value):
    """One thing that a section of a compliance report asks for; an empty one says how it is filled."""

    name: str
    source: str
    value: str
    is_empty: bool
    remedy: str


class ReportSection(Value):
    """A section of the framework."""

    id: str
    title: str
    fields: list[ReportField]


class ComplianceReport(Value):
    """What is known of a version in the order of a framework."""

    framework: Framework
    framework_title: str
    model: str
    version: int
    made_at: datetime
    note: str
    sections: list[ReportSection]
    empty: list[str]


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
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    priority: int = 0
    progress: float
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str
    cause: str = ""
    attempts: int = 0
    not_before: datetime | None = None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed, or was cancelled."""
        return self.state in {"succeeded", "failed", "cancelled"}


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
