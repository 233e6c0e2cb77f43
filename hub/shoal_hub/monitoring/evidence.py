"""Drift by the controlled rule: what devices say of their evidence, decided over all features and devices together.

A device weighs its own windows (`shoal_numerics.drift_evidence`) and tells what has much; e-BH over the devices that
serve a version keeps the share of false ones among those named at `ALPHA`, however often one looks.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select, update

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import Window
from shoal_hub.database import Database, announce
from shoal_hub.devices.matching import load_devices
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.monitoring.drift import NAMED_FEATURES, serves
from shoal_hub.monitoring.tables import DeviceEvidence, DriftSignal
from shoal_hub.registry.tables import Version
from shoal_numerics.e_values import e_benjamini_hochberg

ALPHA: Final = 0.05
VERSIONS_EACH: Final = 20
"""Versions that are decided on in one step."""


class Named(NamedTuple):
    """A feature of a device for which the evidence suffices."""

    device_id: str
    feature: int
    log10: float


def take_evidence(session: Session, device_id: str, window: Window, baseline: Baseline, now: datetime) -> None:
    """Keep what a device says with a window, if that is news. A feature that the baseline lacks is left out."""
    told = window.evidence
    if told is None:
        return
    tested = len(baseline.features)
    strongest: dict[int, float] = {}
    for one in told.features:
        if one.feature < tested:
            strongest.setdefault(one.feature, one.log10)
    features = [[feature, log10] for feature, log10 in strongest.items()]
    row = session.get(DeviceEvidence, (window.model, window.version, device_id))
    if row is None:
        row = DeviceEvidence(
            model=window.model,
            version=window.version,
            device_id=device_id,
            windows=told.windows,
            tested=tested,
            features=features,
            updated_at=now,
        )
    elif row.features == features:
        return
    else:
        row.windows, row.features, row.is_told, row.updated_at = told.windows, features, False, now
    session.add(row)


class EvidenceWatch:
    """Brings the signals of versions up to date of which a device has said something new. A chore of the controller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def step(self, now: datetime) -> int:
        """Decide on some versions, and return on how many."""
        with self._database.session() as session:
            versions = _with_news(session)
        for model, version in versions:
            with self._database.transaction() as session:
                decide(session, model, version, now)
        return len(versions)


def decide(session: Session, model: str, version: int, now: datetime) -> DriftSignal | None:
    """Raise, update or clear the controlled signal of a version; return it if it is active."""
    rows = session.exec(
        select(DeviceEvidence).where(DeviceEvidence.model == model, DeviceEvidence.version == version)
    ).all()
    devices = {row.id: row for row in load_devices(session, [row.device_id for row in rows])}
    serving = [row for row in rows if serves(devices.get(row.device_id), model, version)]
    named = suffices(serving)
    session.exec(
        update(DeviceEvidence)
        .where(col(DeviceEvidence.model) == model, col(DeviceEvidence.version) == version)
        .values(is_told=True)
    )
    wanted = select(DriftSignal).where(
        DriftSignal.model == model,
        DriftSignal.version == version,
        DriftSignal.rule == "controlled",
        DriftSignal.state == "active",
    )
    active = session.exec(wanted).first()
    if not named:
        if active is not None:
            _clear(session, active, now)
        return None
    return _raise(session, active, (model, version), named, now)


def suffices(rows: Sequence[DeviceEvidence]) -> list[Named]:
    """Return the features of devices for which the evidence suffices, the strongest first. Pure."""
    given = [Named(row.device_id, int(feature), log10) for row in rows for feature, log10 in row.features]
    if not given:
        return []
    rejected = e_benjamini_hochberg([10.0**one.log10 for one in given], ALPHA, sum(row.tested for row in rows))
    named = [one for one, is_rejected in zip(given, rejected.tolist(), strict=True) if is_rejected]
    return sorted(named, key=lambda one: (-one.log10, one.device_id, one.feature))


def _with_news(session: Session) -> list[tuple[str, int]]:
    wanted: Any = (
        select_columns(col(DeviceEvidence.model), col(DeviceEvidence.version))
        .where(col(DeviceEvidence.is_told).is_(False))
        .distinct()
        .limit(VERSIONS_EACH)
    )
    return [tuple(row) for row in session.connection().execute(wanted)]


def _raise(
    session: Session, active: DriftSignal | None, of: tuple[str, int], named: Sequence[Named], now: datetime
) -> DriftSignal:
    model, version = of
    devices = sorted({one.device_id for one in named})
    features = _features(session, of, named)
    signal = active or DriftSignal(
        id=new_id("ds"),
        model=model,
        version=version,
        rule="controlled",
        raised_at=now,
        updated_at=now,
        devices=[],
        samples=0,
        features=[],
    )
    if active is None:
        leading = ", ".join(one["name"] for one in features)
        moved = f"inputs of {model} version {version} have drifted by the controlled rule"
        record_event(
            session,
            "drift_raised",
            f"{moved} on {len(devices)} devices: {leading}",
            subject=f"drift/{signal.id}",
            severity="warning",
        )
    if (signal.devices, signal.features) != (devices, features):
        signal.devices, signal.features, signal.updated_at = devices, features, now
        session.add(signal)
        announce(session, "drift")
    return signal


def _features(session: Session, of: tuple[str, int], named: Sequence[Named]) -> list[dict[str, Any]]:
    """Return the features that lead: those of most devices first."""
    model, version = of
    text = session.exec(select(Version.baseline).where(Version.model == model, Version.number == version)).one()
    names = [feature.name for feature in Baseline.model_validate(text).features]
    devices = Counter(one.feature for one in named)
    strongest: dict[int, float] = {}
    for one in named:
        strongest.setdefault(one.feature, one.log10)
    leading = sorted(devices, key=lambda feature: (-devices[feature], -strongest[feature], feature))
    return [
        {"name": names[feature], "log10_e": strongest[feature], "devices": devices[feature]}
        for feature in leading[:NAMED_FEATURES]
    ]


def _clear(session: Session, signal: DriftSignal, now: datetime) -> None:
    signal.state, signal.devices, signal.updated_at, signal.cleared_at = "cleared", [], now, now
    message = f"the evidence that inputs of {signal.model} version {signal.version} have drifted is gone"
    record_event(session, "drift_cleared", message, subject=f"drift/{signal.id}")
    session.add(signal)
    announce(session, "drift")
