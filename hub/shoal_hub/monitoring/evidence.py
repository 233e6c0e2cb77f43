"""Drift by the controlled rule: what devices say of their evidence, decided over all features and devices together.

A device weighs its own windows (`shoal_numerics.drift_evidence`) and tells what has much; e-BH over the devices that
serve a version keeps the share of false ones among those named at `ALPHA`, however often one looks.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import String, cast
from sqlalchemy import select as select_columns
from sqlalchemy.exc import NoResultFound
from sqlmodel import Session, col, delete, func, select, update

from shoal_contract.manifest import Baseline
from shoal_contract.reported import ModelReport
from shoal_hub.database import Database, announce, is_among
from shoal_hub.devices.matching import load_devices
from shoal_hub.devices.tables import Device
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.monitoring.accepted import has_accepted, is_accepted
from shoal_hub.monitoring.drift import NAMED_FEATURES, look_at, recent_windows, serves, thresholds_of
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.monitoring.tables import DeviceEvidence, DriftSignal
from shoal_hub.registry.tables import Version
from shoal_numerics.e_values import e_benjamini_hochberg

ALPHA: Final = 0.05
VERSIONS_EACH: Final = 20
"""Versions that are decided on in one step."""
SAID_FOR: Final = timedelta(days=2)
"""How long what a device has said counts after its last window: twice what a window may last."""
LOOK_EVERY: Final = timedelta(minutes=1)
"""Between two looks for what was said too long ago."""
FORGOTTEN_EACH: Final = 500
"""Devices' words that one transaction deletes: the ingest writes beside it."""
FORGOTTEN_AT_ONCE: Final = 5000
"""Of one look."""
_UNDECIDED: Final = (ValueError, LookupError, NoResultFound, HubError)
"""What a version comes to whose baseline, or what was said of it, cannot be read."""
Said = tuple[str, list[list[float]]]
"""A device, and what it says of features: place in the baseline and log10 of the e-value."""
log = logging.getLogger(__name__)


class Named(NamedTuple):
    """A feature of a device for which the evidence suffices."""

    device_id: str
    feature: int
    log10: float


class EvidenceWatch:
    """Brings the signals of versions up to date of which a device has said something new. A chore of the controller.

    What a device has said ends some time after its last window: one that is gone must hold no signal up for ever.
    Where it has fallen back on the version before, there are no windows, and it holds for as long as one hears of it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Decide on some versions, and return on how many; one that cannot be decided on holds up no other."""
        with self._database.session() as session:
            versions = _with_news(session)
        if not versions:
            self._forget_some(now)
            with self._database.session() as session:
                versions = _with_news(session)
        for model, version in versions:
            self._decide(model, version, now)
        return len(versions)

    def _decide(self, model: str, version: int, now: datetime, gone: Sequence[str] = ()) -> None:
        """Decide on a version, without what these devices have said of it too long ago."""
        try:
            with self._database.transaction() as session:
                _forget(session, model, version, gone, now)
                decide(session, model, version, now)
        except _UNDECIDED:
            log.exception(
                "deciding on drift of %s version %d failed; it waits for what devices say next", model, version
            )
            with self._database.transaction() as session:
                _forget(session, model, version, gone, now)
                _take_news(session, model, version)

    def _forget_some(self, now: datetime) -> None:
        """Delete what was said too long ago, once a minute; its versions are decided on again."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return
        self._looked_at = now
        with self._database.session() as session:
            over = [tuple(row) for row in session.connection().execute(_over(now)).all()]
        for (model, version), rows in groupby(over, key=lambda row: row[:2]):
            device_ids = [row[2] for row in rows]
            for start in range(0, len(device_ids), FORGOTTEN_EACH):
                self._decide(model, version, now, device_ids[start : start + FORGOTTEN_EACH])


def _over(now: datetime) -> Any:  # noqa: ANN401 - a statement over columns
    columns: list[Any] = [getattr(DeviceEvidence, name) for name in ("model", "version", "device_id")]
    wanted: Any = select_columns(*columns).where(col(DeviceEvidence.heard_at) < now - SAID_FOR)
    return wanted.order_by(*columns).limit(FORGOTTEN_AT_ONCE)


def _forget(session: Session, model: str, version: int, device_ids: Sequence[str], now: datetime) -> None:
    """Forget what devices have said of a version too long ago, but of those that still would if they could."""
    if not device_ids:
        return
    is_over = (
        col(DeviceEvidence.model) == model,
        col(DeviceEvidence.version) == version,
        col(DeviceEvidence.heard_at) < now - SAID_FOR,
    )
    silent = [row.id for row in load_devices(session, device_ids) if _has_fallen_back(row, model, version, now)]
    still = update(DeviceEvidence).where(*is_over, is_among(col(DeviceEvidence.device_id), silent))
    unsynced = {"synchronize_session": False}
    session.exec(still.values(heard_at=now), execution_options=unsynced)
    gone = delete(DeviceEvidence).where(*is_over, is_among(col(DeviceEvidence.device_id), device_ids))
    session.exec(gone, execution_options=unsynced)


def _has_fallen_back(device: Device, model: str, version: int, now: datetime) -> bool:
    """Whether the version before answers in place of this one, so that there are no windows, at a device that lives."""
    if device.reported is None or device.last_seen_at is None or device.last_seen_at < now - SAID_FOR:
        return False
    report = ModelReport.model_validate(device.reported.get("models", {}).get(model, {}))
    return report.fallback is not None and serves(device, model, version)


def decide(session: Session, model: str, version: int, now: datetime) -> DriftSignal | None:
    """Raise, update or clear the controlled signal of a version; return it if it is active."""
    _take_news(session, model, version)
    named = _without_accepted(session, model, version, suffices(*_evidence(session, model, version)), now)
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


def _without_accepted(
    session: Session, model: str, version: int, named: Sequence[Named], now: datetime
) -> Sequence[Named]:
    """Return what is named on devices whose latest windows do not look like inputs that the version knows."""
    if not named or not has_accepted(session, model, version):
        return named
    baseline = session.exec(select(Version.baseline).where(Version.model == model, Version.number == version)).one()
    read = Baseline.model_validate(baseline)
    reference, categorical = reference_of(read), [one.is_categorical for one in read.features]

    def is_known(device_id: str) -> bool:
        look = look_at(recent_windows(session, device_id, model, version, now), reference, categorical)
        return is_accepted(session, model, version, look.window, thresholds_of(reference), categorical)

    known = {device_id for device_id in {one.device_id for one in named} if is_known(device_id)}
    return [one for one in named if one.device_id not in known]


def _take_news(session: Session, model: str, version: int) -> None:
    """Mark the news of a version as told, before it is read: what a device says in between stays news.

    So does what an ingest is writing now, which is not waited for: it may hold other rows that are wanted here.
    """
    is_of = (col(DeviceEvidence.model) == model, col(DeviceEvidence.version) == version)
    news = select(DeviceEvidence.device_id).where(*is_of, col(DeviceEvidence.is_told).is_(False))
    mine = col(DeviceEvidence.device_id).in_(news.with_for_update(skip_locked=True))
    told = update(DeviceEvidence).where(*is_of, mine).values(is_told=True)
    session.exec(told, execution_options={"synchronize_session": False})


def _evidence(session: Session, model: str, version: int) -> tuple[list[Said], int]:
    """Return what devices that serve a version have said of its features, and how many features all have tested.

    Devices that serve it no more count among those that tested: it asks for more evidence, never for less.
    """
    is_of = (col(DeviceEvidence.model) == model, col(DeviceEvidence.version) == version)
    tested: Any = select_columns(func.coalesce(func.sum(DeviceEvidence.tested), 0)).where(*is_of)
    columns: list[Any] = [col(DeviceEvidence.device_id), col(DeviceEvidence.features)]
    wanted: Any = select_columns(*columns).where(*is_of, cast(col(DeviceEvidence.features), String) != "[]")
    said = dict(map(tuple, session.connection().execute(wanted)))
    serving = [row.id for row in load_devices(session, sorted(said)) if serves(row, model, version)]
    number = int(session.connection().execute(tested).scalar_one())
    return [(device_id, said[device_id]) for device_id in serving], number


def suffices(said: Sequence[Said], tested: int) -> list[Named]:
    """Return the features of devices for which the evidence suffices, the strongest first. Pure.

    Args:
        said: What devices have said, of those that have much.
        tested: Features that all devices together have tested.
    """
    given = [Named(device_id, int(feature), log10) for device_id, features in said for feature, log10 in features]
    if not given:
        return []
    rejected = e_benjamini_hochberg([10.0**one.log10 for one in given], ALPHA, tested)
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
    samples = _samples(session, of, devices)
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
        signal.samples = samples
        session.add(signal)
        announce(session, "drift")
    return signal


def _samples(session: Session, of: tuple[str, int], devices: Sequence[str]) -> int:
    """Return the samples of the windows by which devices have come to what they say."""
    is_of = (col(DeviceEvidence.model) == of[0], col(DeviceEvidence.version) == of[1])
    wanted: Any = select_columns(func.coalesce(func.sum(DeviceEvidence.samples), 0)).where(
        *is_of, is_among(col(DeviceEvidence.device_id), devices)
    )
    return int(session.connection().execute(wanted).scalar_one())


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
