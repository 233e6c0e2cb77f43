"""Raises, updates and clears drift signals: each device's recent windows against the version's baseline."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlmodel import Session, col, select

from shoal_contract.manifest import Baseline
from shoal_contract.reported import ModelReport
from shoal_hub.database import announce
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.monitoring.accepted import is_accepted
from shoal_hub.monitoring.sketches import Packed, merge
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_numerics import DriftThresholds, DriftVerdict, Histogram, detect_drift

LOOKBACK_WINDOWS: Final = 20
"""The most windows of one device and version that are looked at together."""
LOOKBACK: Final = timedelta(minutes=15)
NAMED_FEATURES: Final = 8
THRESHOLDS: Final = DriftThresholds(psi=0.25, p_value=0.001, min_samples=100, min_features=3)
"""Above the numerics' defaults: many features are tested at each window, and a false alarm costs a person's time."""


class Look(NamedTuple):
    """What a device's recent windows say."""

    verdict: DriftVerdict
    window: Histogram


def look_at(windows: Sequence[WindowRow], reference: Histogram) -> Look:
    """Merge a device's recent windows and hold them against the baseline. Pure."""
    packed = [Packed(row.features, row.missing) for row in windows]
    window = merge(packed, reference.edges, "merging stored windows")
    return Look(detect_drift(reference, window, thresholds_of(reference)), window)


def thresholds_of(reference: Histogram) -> DriftThresholds:
    """Return the plain rule's thresholds for a baseline: of few features, fewer have to move."""
    limit = min(THRESHOLDS.min_features, reference.edges.feature_count)
    return DriftThresholds(
        psi=THRESHOLDS.psi, p_value=THRESHOLDS.p_value, min_samples=THRESHOLDS.min_samples, min_features=limit
    )


def drift_of(row: WindowRow, reference: Histogram) -> float | None:
    """Return how far one window's inputs lie from the baseline: the largest distance of a feature, 0 to 1.

    None where the window has no samples. It is noisy for few of them; a gate weighs it by their number.
    """
    if row.samples == 0:
        return None
    distances = [found.ks for found in look_at([row], reference).verdict.features]
    known = [distance for distance in distances if math.isfinite(distance)]
    return max(known, default=None)


def update_signal(
    session: Session, row: WindowRow, baseline: Baseline, reference: Histogram, now: datetime
) -> DriftSignal | None:
    """Look at one device's recent windows and bring the version's signal up to date; return it if one is active.

    A window with too few samples to be tested changes nothing. A late one of a version that the device serves no
    more raises nothing.

    Args:
        session: A transaction in which the window is stored already.
        row: The device's newest window of the version.
        baseline: The version's.
        reference: The baseline's counts, see `reference_of`.
        now: The hub's time.
    """
    device_id, model, version = row.device_id, row.model, row.version
    look = look_at(recent_windows(session, device_id, model, version, now), reference)
    active = session.exec(
        select(DriftSignal).where(
            DriftSignal.model == model,
            DriftSignal.version == version,
            DriftSignal.rule == "plain",
            DriftSignal.state == "active",
        )
    ).first()
    if not look.verdict.is_tested:
        return active
    is_raised = look.verdict.is_raised and not is_accepted(
        session, model, version, look.window, thresholds_of(reference)
    )
    if is_raised and serves(session.get(Device, device_id), model, version):
        signal = active or _raise(session, device_id, model, version, now)
        _note(signal, device_id, look, baseline, now)
        session.add(signal)
        announce(session, "drift")
        return signal
    if active is None:
        return None
    message = f"inputs of {model} version {version} look like the baseline again"
    return lift(session, active, device_id, message, now) if not is_raised else active


def recent_windows(session: Session, device_id: str, model: str, version: int, now: datetime) -> list[WindowRow]:
    """Return a device's newest windows of a version, as many as a verdict looks at."""
    statement = (
        select(WindowRow)
        .where(
            WindowRow.device_id == device_id,
            WindowRow.model == model,
            WindowRow.version == version,
            col(WindowRow.samples) > 0,  # labels come in windows without any, too
            col(WindowRow.ended_at) > now - LOOKBACK,
        )
        .order_by(col(WindowRow.id).desc())
        .limit(LOOKBACK_WINDOWS)
    )
    return newest_enough(list(session.exec(statement)))


def newest_enough(newest_first: list[WindowRow]) -> list[WindowRow]:
    """Return the newest windows that together have enough samples: older ones would only blur a change."""
    chosen, samples = [], 0
    for row in newest_first:
        chosen.append(row)
        samples += row.samples
        if samples >= THRESHOLDS.min_samples:
            break
    return chosen


def _raise(session: Session, device_id: str, model: str, version: int, now: datetime) -> DriftSignal:
    signal = DriftSignal(
        id=new_id("ds"), model=model, version=version, raised_at=now, updated_at=now, devices=[], samples=0, features=[]
    )
    record_event(
        session,
        "drift_raised",
        f"inputs of {model} version {version} have drifted on {device_id}",
        subject=f"drift/{signal.id}",
        device_id=device_id,
        severity="warning",
    )
    return signal


def _note(signal: DriftSignal, device_id: str, look: Look, baseline: Baseline, now: datetime) -> None:
    signal.devices = sorted({*signal.devices, device_id})
    signal.samples = look.window.row_count
    signal.updated_at = now
    signal.features = [_feature(position, look, baseline) for position in look.verdict.leading[:NAMED_FEATURES]]


def _feature(position: int, look: Look, baseline: Baseline) -> dict[str, Any]:
    found = look.verdict.features[position]
    return {
        "name": baseline.features[position].name,
        "ks": _finite(found.ks),
        "psi": _finite(found.psi),
        "p_value": _finite(found.adjusted_p_value),
        "missing_ratio": found.missing_ratio,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def serves(device: Device | None, model: str, version: int) -> bool:
    """Whether a device serves a version, as far as it has said."""
    if device is None or device.revoked_at is not None:
        return False
    if device.reported is None:
        return True
    active = ModelReport.model_validate(device.reported.get("models", {}).get(model, {})).active
    return active is not None and active.version == version


def lift(session: Session, signal: DriftSignal, device_id: str, message: str, now: datetime) -> DriftSignal | None:
    """Take a device off a signal; clear it with the last one, and return it if it is still active."""
    if device_id not in signal.devices:
        return signal
    signal.devices = [one for one in signal.devices if one != device_id]
    signal.updated_at = now
    if not signal.devices:
        signal.state, signal.cleared_at = "cleared", now
        record_event(session, "drift_cleared", message, subject=f"drift/{signal.id}", device_id=device_id)
    session.add(signal)
    announce(session, "drift")
    return signal if signal.state == "active" else None
