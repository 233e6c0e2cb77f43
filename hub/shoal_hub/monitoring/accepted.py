"""Inputs that count as known to a version, though its baseline does not have them: it was trained on them since.

A baseline is one distribution, and a fleet has several: a camera that was mounted anew stays as it is. Where a version
has learned what drifted, windows that look like it raise no signal; windows that look like neither do.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import JSON, LargeBinary
from sqlmodel import Field, Session, SQLModel, col, select

from shoal_contract.manifest import Baseline
from shoal_hub.database import UtcDateTime, in_parts
from shoal_hub.ids import new_id
from shoal_hub.monitoring.sketches import Packed, merge, reference_of
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.versions import find_version
from shoal_numerics import DriftThresholds, Histogram, detect_drift, pack_counts

MAX_ACCEPTED: Final = 16
"""Of one version; the oldest make room."""
MOST_WINDOWS: Final = 500
"""The newest windows of which inputs are accepted."""


class AcceptedInputs(SQLModel, table=True):
    """What some devices saw in a stretch of time, as counts over the edges of the version's baseline."""

    __tablename__ = "accepted_inputs"

    id: str = Field(primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    version: int
    features: bytes = Field(sa_type=LargeBinary, description="packed counts, (features, bins) of the baseline")
    missing: bytes = Field(sa_type=LargeBinary, description="packed counts, one a feature")
    samples: int
    devices: list[str] = Field(sa_type=JSON)
    by: str
    at: datetime = Field(sa_type=UtcDateTime)


def accept_inputs(
    session: Session,
    model: str,
    *,
    seen_by: int,
    version: int,
    devices: Sequence[str],
    since: datetime,
    min_samples: int,
    by: str,
    now: datetime,
) -> tuple[AcceptedInputs | None, str]:
    """Have what devices saw lately count as known to another version.

    Args:
        session: An open transaction.
        model: The model.
        seen_by: The version that served meanwhile.
        version: The version that knows it.
        devices: Whose windows.
        since: From when on, by the hub's clock.
        min_samples: Of fewer nothing is accepted: it would be mostly chance.
        by: Who says so.
        now: The clock.

    Returns:
        What was accepted; or None, and why.

    Raises:
        NotFoundError: One of the versions is not there.
    """
    former, latter = (find_version(session, model, str(one)).baseline for one in (seen_by, version))
    edges = reference_of(Baseline.model_validate(former)).edges
    if edges.sha256 != reference_of(Baseline.model_validate(latter)).edges.sha256:
        return None, f"the baseline of version {version} has other edges than that of version {seen_by}"
    windows = _windows(session, model, seen_by, devices, since)
    found = merge([Packed(row.features, row.missing) for row in windows], edges, "merging windows that are accepted")
    if found.row_count < min_samples:
        return None, f"{found.row_count} samples of the drifted inputs are there, at least {min_samples} expected"
    row = AcceptedInputs(
        id=new_id("ai"),
        model=model,
        version=version,
        features=pack_counts(found.padded().ravel()),
        missing=pack_counts(found.missing),
        samples=found.row_count,
        devices=sorted(devices),
        by=by,
        at=now,
    )
    session.add(row)
    for old in _accepted(session, model, version)[MAX_ACCEPTED:]:
        session.delete(old)
    return row, ""


def is_accepted(
    session: Session,
    model: str,
    version: int,
    window: Histogram,
    thresholds: DriftThresholds,
    categorical: Sequence[bool] | None = None,
) -> bool:
    """Whether a window looks like inputs that were accepted for its version."""
    for row in _accepted(session, model, version):
        reference = merge([Packed(row.features, row.missing)], window.edges, "reading accepted inputs")
        verdict = detect_drift(reference, window, thresholds, categorical)
        if verdict.is_tested and not verdict.is_raised:
            return True
    return False


def has_accepted(session: Session, model: str, version: int) -> bool:
    """Whether any inputs were accepted for a version."""
    wanted = select(AcceptedInputs.id).where(AcceptedInputs.model == model, AcceptedInputs.version == version)
    return session.exec(wanted.limit(1)).first() is not None


def _accepted(session: Session, model: str, version: int) -> Sequence[AcceptedInputs]:
    wanted = select(AcceptedInputs).where(AcceptedInputs.model == model, AcceptedInputs.version == version)
    return session.exec(wanted.order_by(col(AcceptedInputs.at).desc())).all()


def _windows(
    session: Session, model: str, version: int, devices: Sequence[str], since: datetime
) -> Sequence[WindowRow]:
    found: list[WindowRow] = []
    for part in in_parts(devices):
        wanted = select(WindowRow).where(
            WindowRow.model == model,
            WindowRow.version == version,
            col(WindowRow.device_id).in_(part),
            col(WindowRow.received_at) >= since,
            col(WindowRow.samples) > 0,
        )
        found += session.exec(wanted.order_by(col(WindowRow.id).desc()).limit(MOST_WINDOWS))
    return sorted(found, key=lambda row: -(row.id or 0))[:MOST_WINDOWS]
