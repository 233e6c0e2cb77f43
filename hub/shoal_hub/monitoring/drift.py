"""Raises, updates and clears drift signals: each device's recent windows against the version's baseline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.reported import ModelReport
from shoal_hub.bulk import Query
from shoal_hub.database import JsonText, UtcDateTime, announce
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.monitoring.accepted import is_accepted
from shoal_hub.monitoring.baselines import Known
from shoal_hub.monitoring.describe import describe, moved_embedding
from shoal_hub.monitoring.new_window import NewWindow
from shoal_hub.monitoring.screening import THRESHOLDS
from shoal_hub.monitoring.sketches import Packed, merge
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_numerics import DriftThresholds, DriftVerdict, Histogram, detect_drift

LOOKBACK_WINDOWS: Final = 20
"""The most windows of one device and version that are looked at together."""
LOOKBACK: Final = timedelta(minutes=15)
NAMED_FEATURES: Final = 8


class Look(NamedTuple):
    """What a device's recent windows say."""

    verdict: DriftVerdict
    window: Histogram


class RecentWindow(NamedTuple):
    """A window that was counted lately; `samples` are those that its counts tell of."""

    samples: int
    features: bytes
    missing: bytes
    embedding: Mapping[str, Any] | JsonText | None


def look_at(windows: Sequence[Packed], reference: Histogram, categorical: Sequence[bool] | None = None) -> Look:
    """Merge a device's recent windows and hold them against the baseline. Pure."""
    window = merge(windows, reference.edges, "merging stored windows")
    return Look(detect_drift(reference, window, thresholds_of(reference), categorical), window)


def thresholds_of(reference: Histogram) -> DriftThresholds:
    """Return what the plain rule asks for: of a version with few features, no more of them than it has."""
    limit = min(THRESHOLDS.min_features, reference.edges.feature_count)
    return replace(THRESHOLDS, min_features=limit)


class Signals:
    """The signals of one transaction, brought up to date window by window; what it reads it reads once.

    Args:
        session: An open transaction, in which nobody else changes signals.
        now: The hub's time.
    """

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self._now = now
        self._active: dict[tuple[str, int], DriftSignal | None] = {}
        self._recent: dict[tuple[str, str, int], list[RecentWindow]] = {}
        self._new: dict[tuple[str, str, int], list[RecentWindow]] = {}

    def update(self, row: NewWindow, known: Known, *, is_tested: bool, may_raise: bool) -> DriftSignal | None:
        """Look at one device's recent windows and bring the version's signal up to date; return it if one is active.

        A window with too few samples to be tested changes nothing. A late one of a version that the device serves no
        more raises nothing.

        Args:
            row: The device's newest window of the version, later than all that this was given before.
            known: The version's baseline.
            is_tested: Whether this window alone has enough samples to be tested.
            may_raise: False where it alone raises nothing.
        """
        session, device_id, model, version = self._session, row.device_id, row.model, row.version
        chosen = self._chosen(row)
        active = self._active_of(model, version)
        if sum(one.samples for one in chosen) < THRESHOLDS.min_samples:
            return active
        is_alone = len(chosen) == 1 and chosen[0].samples == row.samples - row.unsketched
        if is_alone and is_tested and not may_raise:
            return self._lift(active, device_id) if active is not None else None
        baseline = known.baseline
        categorical = [one.is_categorical for one in baseline.features]
        look = look_at([Packed(one.features, one.missing) for one in chosen], known.reference, categorical)
        if not look.verdict.is_tested:
            return active
        limits = thresholds_of(known.reference)
        is_raised = look.verdict.is_raised and not is_accepted(
            session, model, version, look.window, limits, categorical
        )
        if is_raised and serves(session.get(Device, device_id), model, version):
            signal = active or _raise(session, device_id, model, version, self._now)
            _note(signal, device_id, look, self._now)
            leading = look.verdict.leading[:NAMED_FEATURES]
            signal.features = describe(look.window, known.reference, baseline, look.verdict, leading)
            signal.embedding = moved_embedding([_told(one.embedding) for one in chosen], baseline)
            session.add(signal)
            announce(session, "drift")
            self._active[model, version] = signal
            return signal
        if active is None:
            return None
        return self._lift(active, device_id) if not is_raised else active

    def _lift(self, active: DriftSignal, device_id: str) -> DriftSignal | None:
        message = f"inputs of {active.model} version {active.version} look like the baseline again"
        left = lift(self._session, active, device_id, message, self._now)
        self._active[active.model, active.version] = left
        return left

    def _active_of(self, model: str, version: int) -> DriftSignal | None:
        if (model, version) not in self._active:
            wanted = select(DriftSignal).where(
                DriftSignal.model == model,
                DriftSignal.version == version,
                DriftSignal.rule == "plain",
                DriftSignal.state == "active",
            )
            self._active[model, version] = self._session.exec(wanted).first()
        return self._active[model, version]

    def _chosen(self, row: NewWindow) -> list[RecentWindow]:
        """Return the newest windows that together have enough samples: older ones would only blur a change."""
        stream = (row.device_id, row.model, row.version)
        mine = RecentWindow(row.samples - row.unsketched, row.features, row.missing, row.embedding)
        counts = mine.samples > 0 and row.ended_at > self._now - LOOKBACK  # labels come in windows without any, too
        if counts:
            self._new.setdefault(stream, []).append(mine)
            if mine.samples >= THRESHOLDS.min_samples:
                return [mine]
        return newest_enough(self._newest_first(stream))

    def _newest_first(self, stream: tuple[str, str, int]) -> list[RecentWindow]:
        """Return what is stored of a stream, and what is new of it, as many as are looked at."""
        if stream not in self._recent:
            device_id, model, version = stream
            since = self._now - LOOKBACK
            rows = _STORED.rows(self._session, device_id=device_id, model=model, version=version, since=since)
            self._recent[stream] = [RecentWindow(*row) for row in rows]
        return [*reversed(self._new.get(stream, ())), *self._recent[stream]][:LOOKBACK_WINDOWS]


def recent_windows(session: Session, device_id: str, model: str, version: int, now: datetime) -> list[Packed]:
    """Return the counts of a device's newest windows of a version, as many as a verdict looks at."""
    rows = _STORED.rows(session, device_id=device_id, model=model, version=version, since=now - LOOKBACK)
    return [Packed(one.features, one.missing) for one in newest_enough([RecentWindow(*row) for row in rows])]


def newest_enough(newest_first: Sequence[RecentWindow]) -> list[RecentWindow]:
    """Return the newest windows that together have enough samples: older ones would only blur a change."""
    chosen, samples = [], 0
    for one in newest_first:
        chosen.append(one)
        samples += one.samples
        if samples >= THRESHOLDS.min_samples:
            break
    return chosen


def _told(embedding: Mapping[str, Any] | JsonText | None) -> Mapping[str, Any] | None:
    told: Mapping[str, Any] | None = json.loads(embedding) if isinstance(embedding, str) else embedding
    return told


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


def _note(signal: DriftSignal, device_id: str, look: Look, now: datetime) -> None:
    signal.devices = sorted({*signal.devices, device_id})
    signal.samples = look.window.row_count
    signal.updated_at = now


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


_SKETCHED: Final = col(WindowRow.samples) - col(WindowRow.unsketched)
_COLUMNS: Final[list[Any]] = [_SKETCHED, col(WindowRow.features), col(WindowRow.missing), col(WindowRow.embedding)]
_STORED: Final = Query(
    select_columns(*_COLUMNS)
    .where(
        col(WindowRow.device_id) == bindparam("device_id"),
        col(WindowRow.model) == bindparam("model"),
        col(WindowRow.version) == bindparam("version"),
        _SKETCHED > 0,
        col(WindowRow.ended_at) > bindparam("since", type_=UtcDateTime),
    )
    .order_by(col(WindowRow.id).desc())
    .limit(LOOKBACK_WINDOWS)
)
