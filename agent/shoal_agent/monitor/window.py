"""A finished window: what one version saw in a stretch of time, ready for the outbox."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shoal_contract.embedding import EmbeddingCounts
from shoal_contract.performance import PerformanceCounts
from shoal_contract.slices import SliceCounts
from shoal_contract.telemetry import DriftEvidenceTold, OutboxPosition, SchemaMisfits, SketchCounts, Window, WindowPart


@dataclass(frozen=True)
class FinishedWindow:
    """The fields of `shoal_contract.telemetry.Window` but for the place in the outbox, which the outbox gives."""

    model: str
    version: int
    manifest_sha256: str
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    errors: int
    features: SketchCounts
    missing: SketchCounts
    predictions: tuple[int, ...]
    confidence: tuple[int, ...]
    latency: tuple[int, ...]
    labelled: int
    correct: int
    unsketched: int
    edges: str | None = None
    embedding: EmbeddingCounts | None = None
    slices: tuple[SliceCounts, ...] | None = None
    misfits: SchemaMisfits | None = None
    left_out: Mapping[WindowPart, str] | None = None
    evidence: DriftEvidenceTold | None = None
    performance: PerformanceCounts | None = None

    def to_message(self, outbox: OutboxPosition) -> Window:
        """Return the wire message at its place in the outbox."""
        return Window(
            outbox=outbox,
            model=self.model,
            version=self.version,
            manifest_sha256=self.manifest_sha256,
            started_at=self.started_at,
            ended_at=self.ended_at,
            requests=self.requests,
            samples=self.samples,
            errors=self.errors,
            features=self.features,
            missing=self.missing,
            predictions=self.predictions,
            confidence=self.confidence,
            latency=self.latency,
            labelled=self.labelled,
            correct=self.correct,
            unsketched=self.unsketched or None,
            edges=self.edges,
            embedding=self.embedding,
            slices=self.slices,
            misfits=self.misfits,
            left_out=dict(self.left_out) if self.left_out else None,
            evidence=self.evidence,
            performance=self.performance,
        )
