"""Telemetry and events: what a device sends through its outbox, and heartbeats, which may be lost.

`OutboxPosition` gives a message its place; the hub commits positions without gaps and acknowledges the highest.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_contract.batch_jobs import BatchResult
from shoal_contract.benchmarks import BenchmarkResult
from shoal_contract.embedding import EmbeddingCounts
from shoal_contract.enrolment import PublicKeyHex
from shoal_contract.ids import Name, Sha256
from shoal_contract.ledger import LedgerTotals
from shoal_contract.limits import MAX_PASSED_STEPS
from shoal_contract.manifest import MAX_FEATURES
from shoal_contract.performance import PerformanceCounts
from shoal_contract.reported import Problem
from shoal_contract.slices import MAX_SLICES, SliceCounts
from shoal_contract.wire import Count, Ordinal, UtcTime, WireMessage, WireValue

LATENCY_EDGES_MS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Interior edges of every latency histogram, milliseconds; the outer bins are open."""
MAX_PACKED_CHARS: Final = 64 * 1024
MAX_EXAMPLE_CHARS: Final = 32 * 1024
BlobPurpose = Literal["federated_update", "capture", "batch_result"]
DeploymentStep = Literal["fetch", "verify", "stage", "activate", "probe", "commit", "roll_back", "fail"]
"""`probe` is told only where there are probes to pass; `roll_back` says why the device went back by itself."""


class OutboxPosition(WireValue):
    """Place of a message in a device's outbox.

    `stream` names the outbox: nanoseconds since 1970 of when it was begun, so that of two the greater name is the later
    one, and what was held back of an earlier one counts no more. `oldest` is the first sequence still held, so that a
    hub restored from a backup knows which ones can never come.
    """

    stream: str = Field(pattern=r"^[0-9a-f]{16}$")
    sequence: Ordinal
    oldest: Ordinal


class SketchCounts(WireValue):
    """Counts of a sketch: base64 of packed counts (`shoal_numerics.packing`), shape (rows, bins)."""

    rows: int = Field(ge=1, le=16_384)
    bins: int = Field(ge=1, le=1024)
    data: str = Field(max_length=MAX_PACKED_CHARS)


class Heartbeat(WireMessage):
    """Vital signs. Not in the outbox: a lost one is replaced by the next, and (connection, sequence) bars a replay."""

    kind: Literal["heartbeat"] = "heartbeat"
    at: UtcTime
    uptime_s: float = Field(ge=0)
    memory_bytes: Count
    load: float = Field(ge=0)
    temperature_c: float | None = None
    outbox_depth: Count
    connection: Count
    sequence: Count
    ledger: LedgerTotals | None = None
    """Now and then, once it has grown: each one stands for all before it."""


class FeatureEvidence(WireValue):
    """The evidence that one feature has drifted, over all windows so far (`shoal_numerics.drift_evidence`)."""

    feature: int = Field(ge=0, lt=MAX_FEATURES)
    """Its place in the baseline."""
    log10: float = Field(ge=1, le=30)
    """Of the e-value: it is ever as large as k with probability at most 1 / k, where nothing has drifted."""


class DriftEvidenceTold(WireValue):
    """What a device's own evidence of drift comes to with this window."""

    windows: Ordinal
    """So many are in it."""
    features: tuple[FeatureEvidence, ...] = Field(default=(), max_length=64)
    """Those whose e-value is at least 10, the largest first; of others there is less."""
    warm_up_windows: Ordinal | None = None
    """Windows in which nothing is bet; None: 32, which is what an agent does that is not told otherwise."""


WindowPart = Literal["features", "embedding", "slices", "performance"]
"""What a window may leave out, with the reason."""


Misfit = Literal["missing", "extra", "retyped", "reshaped", "non_finite"]
"""What a request did not fit its model's schema by; the fields of `SchemaMisfits`."""


class SchemaMisfits(WireValue):
    """Requests that did not fit the model's schema, by the first that was found wrong; they are among the errors."""

    missing: Count = 0
    """An input or a feature was not given."""
    extra: Count = 0
    """One was given that the model does not know."""
    retyped: Count = 0
    """One had another datatype, or elements of another kind."""
    reshaped: Count = 0
    """One had another shape, or another number of values."""
    non_finite: Count = 0
    """One had an element that is NaN or infinite, and this device answers no such request. Where it does, NaN is
    counted as missing."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.missing + self.extra + self.retyped + self.reshaped + self.non_finite


class Window(WireMessage):
    """What one model saw in one window of time, as mergeable counts. Raw inputs stay on the device."""

    kind: Literal["window"] = "window"
    outbox: OutboxPosition
    model: Name
    version: Ordinal
    manifest_sha256: Sha256
    """The manifest whose baseline edges the counts use; sketches of another baseline are never merged."""
    started_at: UtcTime
    ended_at: UtcTime
    requests: Count
    samples: Count
    errors: Count
    features: SketchCounts
    missing: SketchCounts
    predictions: tuple[Count, ...] = Field(max_length=1024)
    confidence: tuple[Count, ...] = Field(max_length=1024)
    latency: tuple[Count, ...] = Field(max_length=64)
    labelled: Count = 0
    """Samples whose true label came back in this window; they may have been answered in an earlier one."""
    correct: Count = 0
    """Of those, the ones whose predicted label was the true one."""
    evidence: DriftEvidenceTold | None = None
    """None: the agent weighs none."""
    unsketched: Count | None = None
    """Samples that `features` and `missing` leave out, as more came than the device sketches; None: none."""
    edges: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    """The first 8 bytes of the SHA-256 of the edges that were counted over (`HistogramEdges.sha256`)."""
    embedding: EmbeddingCounts | None = None
    """Of a part of the samples, where the baseline has an embedding."""
    slices: tuple[SliceCounts, ...] | None = Field(default=None, max_length=MAX_SLICES)
    """In the baseline's order; together they may hold a sample several times, or not at all."""
    misfits: SchemaMisfits | None = None
    """None: there was none, or the agent counts none."""
    left_out: dict[WindowPart, Annotated[str, Field(max_length=256)]] | None = None
    """What the window should hold and does not, and why. Counts of features that are left out are empty, their samples
    `unsketched`."""
    performance: PerformanceCounts | None = None
    """What truth came back; None: there was none, or the agent counts `labelled` and `correct` alone."""


class HardExample(WireValue):
    """One sample on which a trial's two versions chose different labels."""

    data: str = Field(max_length=MAX_EXAMPLE_CHARS)
    """Base64 of the features, float32 little-endian, flattened in the manifest's order of inputs."""
    label: Count
    """By the version that serves."""
    candidate_label: Count
    confidence: float
    candidate_confidence: float


class ShadowWindow(WireMessage):
    """How a candidate in shadow compared with the version that served, in one window of time. Counts are of samples.

    What it was asked beyond its budget is `skipped`, in requests.
    """

    kind: Literal["shadow"] = "shadow"
    outbox: OutboxPosition
    trial: Name
    model: Name
    version: Ordinal
    against: Ordinal
    started_at: UtcTime
    ended_at: UtcTime
    compared: Count
    disagreed: Count
    errors: Count
    """Requests that the candidate could not answer, and the version that serves could."""
    skipped: Count
    latency: tuple[Count, ...] = Field(max_length=64)
    """Of the candidate's runs, over `LATENCY_EDGES_MS`; without reading the request and writing the answer."""
    labelled: Count = 0
    """Compared samples whose true label has come back, also those that were compared in an earlier window."""
    correct: Count = 0
    """Of these, the ones that the candidate predicted right."""
    against_correct: Count = 0
    """And those that the version that serves predicted right."""
    examples: tuple[HardExample, ...] = Field(default=(), max_length=16)


class VersionCost(WireValue):
    """What a version costs on the device that says so, measured in its self-test."""

    sha256: Sha256
    """The variant's plain file, which is what was measured."""
    latency_p50_ms: float = Field(ge=0, le=1e9)
    """Of one request with one sample, where the model takes batches of any size; else with the golden input's."""
    runs: Ordinal
    """Of which that is the median."""
    memory_bytes: Count
    """What the process had grown by when the model had been loaded and run."""


class PassedStep(WireValue):
    """A step of a deployment that is told with a later one."""

    step: DeploymentStep
    duration_s: float = Field(default=0.0, ge=0)
    """Of the deployment until then."""


class DeploymentEvent(WireValue):
    """A step of one deployment, and those before it that were not told by themselves."""

    kind: Literal["deployment"] = "deployment"
    model: Name
    version: Ordinal
    deployment: str = Field(max_length=64)
    step: DeploymentStep
    fetched_bytes: Count = 0
    duration_s: float = Field(default=0.0, ge=0)
    cost: VersionCost | None = None
    """Once a deployment, with the first step after the version was loaded, or the one that tells of it."""
    passed: tuple[PassedStep, ...] = Field(default=(), max_length=MAX_PASSED_STEPS)
    """The steps before this one since the last that was told, in their order."""
    problem: Problem | None = None

    @property
    def steps(self) -> tuple[DeploymentStep, ...]:
        """All steps that it tells of, in their order."""
        return (*(one.step for one in self.passed), self.step)


class BlobOffer(WireValue):
    """The device wants to upload a blob; it sends chunks once the hub has given a credit."""

    kind: Literal["blob_offer"] = "blob_offer"
    sha256: Sha256
    size_bytes: Ordinal
    chunk_bytes: Ordinal
    purpose: BlobPurpose = "federated_update"
    """A hub that knows a purpose is the one that asked for such blobs."""
    about: Name | None = None
    """Of a captured sample: its model; of answers: their batch job."""


class RoundResult(WireValue):
    """A device's answer to a federated round; `update_sha256` is set when it trained."""

    kind: Literal["round_result"] = "round_result"
    run: Name
    round: Ordinal
    outcome: Literal["trained", "refused", "failed"]
    update_sha256: Sha256 | None = None
    update_bytes: Count = 0
    examples: Count = 0
    loss_before: float | None = None
    loss_after: float | None = None
    duration_s: float = Field(default=0.0, ge=0)
    peak_memory_bytes: Count = 0
    problem: Problem | None = None


class MissingArtifact(WireValue):
    """A retained topic stayed silent: the hub should publish the artifact again."""

    kind: Literal["missing_artifact"] = "missing_artifact"
    sha256: Sha256
    detail: str = Field(default="", max_length=256)


class EncryptionKeyReplaced(WireValue):
    """The device has another encryption key, or was sent a key of a version under one that it does not have."""

    kind: Literal["encryption_key_replaced"] = "encryption_key_replaced"
    encryption_key: PublicKeyHex
    """What to wrap keys of versions for from now on; X25519."""


class LoadShed(WireValue):
    """The device has begun to refuse requests to less important models; once an episode, which it alone bounds."""

    kind: Literal["load_shed"] = "load_shed"
    reason: Literal["hot", "memory"]
    level: int = Field(ge=1, le=2)
    """1: of the lowest priority; 2: of all priorities but the highest."""
    temperature_c: float | None = None
    """Of the processor's hottest part."""
    available_memory_bytes: Count | None = None
    models: tuple[Name, ...] = Field(default=(), max_length=64)
    """Whose requests are refused; none where all models have the same priority."""


EventBody = Annotated[
    DeploymentEvent
    | BlobOffer
    | RoundResult
    | MissingArtifact
    | EncryptionKeyReplaced
    | LoadShed
    | BatchResult
    | BenchmarkResult,
    Field(discriminator="kind"),
]


class Event(WireMessage):
    """The payload of `up/event`, idempotent by `event_id`."""

    event_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    outbox: OutboxPosition
    at: UtcTime
    body: EventBody


class TelemetryMessage(WireMessage):
    """The payload of `up/telemetry`."""

    body: Annotated[Heartbeat | Window | ShadowWindow, Field(discriminator="kind")]
