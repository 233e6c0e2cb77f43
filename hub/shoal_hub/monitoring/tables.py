"""Windows that devices sent, and the drift signals that came of them."""

from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, String, text
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime, utc_now

SignalState = Literal["active", "cleared"]
SignalRule = Literal["plain", "controlled"]
QuarantineReason = Literal[
    "unknown_version",
    "another_baseline",
    "backwards",
    "from_the_future",
    "late",
    "duplicate",
    "unreadable",
    "out_of_bounds",
    "does_not_add_up",
    "unusable_baseline",
]
"""Why a window is not merged; docs/guides/drift.md says what each means and what to do."""
_JSON = JSON(none_as_null=True)
TO_ROLL_UP: Final = text("NOT is_rolled_up")
"""That the history does not hold a window yet; in the very words of the index, by which alone SQLite knows it again."""


class WindowRow(SQLModel, table=True):
    """What one version saw on one device in a stretch of time; counts stay packed, as they came."""

    __tablename__ = "windows"
    # What devices saw.
    __table_args__ = (
        Index("ix_windows_stream", "device_id", "model", "version", "id"),
        Index("ix_windows_device", "model", "device_id", "started_at"),
        Index("ix_windows_received", "received_at"),
        Index("ix_windows_ended", "model", "ended_at"),
        Index("ix_windows_digest", "digest"),
        Index(
            "ix_windows_to_roll_up",
            "model",
            "version",
            "device_id",
            "id",
            sqlite_where=TO_ROLL_UP,
            postgresql_where=TO_ROLL_UP,
        ),
        {"info": UNAUDITED},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    device_id: str = Field(foreign_key="devices.id")
    model: str
    version: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    requests: int
    samples: int
    errors: int
    features: bytes = Field(sa_type=LargeBinary, description="packed counts, (features, bins) of the baseline")
    missing: bytes = Field(sa_type=LargeBinary, description="packed counts, one a feature")
    predictions: list[int] = Field(sa_type=JSON)
    confidence: list[int] = Field(sa_type=JSON)
    latency: list[int] = Field(sa_type=JSON)
    labelled: int = Field(default=0, description="samples whose true label came back in this time")
    correct: int = Field(default=0, description="of those, the ones that were predicted right")
    received_at: datetime = Field(
        default_factory=utc_now,
        sa_type=UtcDateTime,
        description="by the hub's clock; it is kept for some time from then on",
    )
    drift: float | None = Field(
        default=None, description="largest Kolmogorov-Smirnov distance of a feature from the baseline, 0 to 1"
    )
    embedding: dict[str, Any] | None = Field(default=None, sa_type=_JSON, description="contract EmbeddingCounts")
    slices: list[dict[str, Any]] | None = Field(
        default=None, sa_type=_JSON, description="contract SliceCounts, in the baseline's order"
    )
    misfits: dict[str, int] | None = Field(default=None, sa_type=_JSON, description="contract SchemaMisfits")
    left_out: dict[str, str] | None = Field(
        default=None, sa_type=_JSON, description="what the window does not tell, and why"
    )
    performance: dict[str, Any] | None = Field(default=None, sa_type=_JSON, description="contract PerformanceCounts")
    digest: str | None = Field(
        default=None, description="by which it is known if it comes again; None: of before there were digests"
    )
    unsketched: int = Field(default=0, description="samples that the counts of features leave out")
    is_rolled_up: bool = Field(
        default=False,
        sa_column_kwargs={"server_default": text("false")},
        description="whether the history holds its counts; it is not deleted before",
    )


class QuarantinedWindow(SQLModel, table=True):
    """That a window was not merged, and why; its counts are not kept."""

    __tablename__ = "quarantined_windows"
    # What devices said; the latest few of each device and reason.
    __table_args__ = (
        Index("ix_quarantined_windows_stream", "device_id", "reason", "id"),
        Index("ix_quarantined_windows_received", "received_at"),
        {"info": UNAUDITED},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    device_id: str = Field(foreign_key="devices.id")
    model: str
    version: int = Field(sa_type=BigInteger)
    reason: QuarantineReason = Field(sa_type=String)
    message: str
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    requests: int = Field(sa_type=BigInteger)
    samples: int = Field(sa_type=BigInteger)
    received_at: datetime = Field(sa_type=UtcDateTime)


class QuarantineTally(SQLModel, table=True):
    """When it was last told that windows of a device are set aside for a reason, and how many were since."""

    __tablename__ = "quarantine_tallies"
    __table_args__ = (Index("ix_quarantine_tallies_told", "told_at"), {"info": UNAUDITED})  # counts of what came

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    reason: QuarantineReason = Field(primary_key=True, sa_type=String)
    told_at: datetime = Field(sa_type=UtcDateTime)
    untold: int = 0


class DriftSignal(SQLModel, table=True):
    """Drift of the inputs of one version, as long as any device shows it; at most one is active a version."""

    __tablename__ = "drift_signals"
    # What the windows come to: an observation, told as an event, that changes nothing on any device.
    __table_args__ = (Index("ix_drift_signals_version", "model", "version", "state"), {"info": UNAUDITED})

    id: str = Field(primary_key=True)
    model: str
    version: int
    rule: SignalRule = Field(
        default="plain",
        sa_type=String,
        description="plain: of one look; controlled: by evidence that may be looked at for ever",
    )
    state: SignalState = Field(default="active", sa_type=String)
    raised_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    cleared_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    devices: list[str] = Field(sa_type=JSON, description="devices whose recent windows drifted")
    samples: int = Field(description="samples of those windows")
    features: list[dict[str, Any]] = Field(
        sa_type=JSON, description="the features that lead, by what tests say of them"
    )
    embedding: dict[str, Any] | None = Field(
        default=None, sa_type=_JSON, description="how far the embedding has moved: distance_squared, floor, p_value"
    )


class DeviceEvidence(SQLModel, table=True):
    """What a device has said last of its own evidence that a version's inputs have drifted."""

    __tablename__ = "drift_evidence"
    __table_args__ = (Index("ix_drift_evidence_told", "is_told", "model", "version"), {"info": UNAUDITED})

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    windows: int = Field(description="that it is of")
    samples: int = Field(
        default=0,
        sa_type=BigInteger,
        sa_column_kwargs={"server_default": text("0")},
        description="of the windows since it has had much to say; 0 where it has not",
    )
    tested: int = Field(description="features of the baseline")
    features: list[list[float]] = Field(
        sa_type=JSON, description="place in the baseline and log10 of the e-value, of those with at least 10"
    )
    is_told: bool = Field(default=False, description="whether the version's signal goes by it")
    ended_at: datetime = Field(sa_type=UtcDateTime, description="of the window that it came with, by its device")
    updated_at: datetime = Field(sa_type=UtcDateTime)
    heard_at: datetime = Field(
        default_factory=utc_now, sa_type=UtcDateTime, description="by the hub's clock: what was said long ago ends"
    )
