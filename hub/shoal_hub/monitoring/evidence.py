"""Drift by the controlled rule: what devices say of their evidence, decided over all features and devices together.

A device weighs its own windows (`shoal_numerics.drift_evidence`) and tells what has much; e-BH over the devices that
serve a version keeps the share of false ones among those named at `ALPHA`, however often one looks.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, cast
from sqlalchemy import select as select_columns
from sqlalchemy.orm.attributes import flag_modified
from sqlmodel import Session, col, func, select, update

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import Window
from shoal_hub.database import Database, announce
from shoal_hub.devices.matching import load_devices
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.monitoring.accepted import has_accepted, is_accepted
from shoal_hub.monitoring.drift import NAMED_FEATURES, look_at, recent_windows, serves, thresholds_of
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.monitoring.tables import DeviceEvidence, DriftSignal
from shoal_hub.registry.tables import Version
from shoal_numerics.drift_evidence import EvidenceSettings
from shoal_numerics.e_values import e_benjamini_hochberg

ALPHA: Final = 0.05
VERSIONS_EACH: Final = 20
"""Versions that are decided on in one step."""


WARM_UP: Final = EvidenceSettings().warm_up_windows
"""Windows of a device in which it bets nothing, and has nothing to say."""
_MOST_WINDOWS: Final = 2**31 - 1
_MOST_LOG10: Final = 12
"""Of what a device's bets may ever come to."""
Said = tuple[str, list[list[float]]]
"""A device, and what it says of features: place in the baseline and log10 of the e-value."""


class Named(NamedTuple):
    """A feature of a device for which the evidence suffices."""

    device_id: str
    feature: int
    log10: float


def check_evidence(window: Window, baseline: Baseline) -> None:
    """See that what a device says of its evidence is something that its windows can come to.

    Raises:
        QuarantineError: a number that no evidence can have.
    """
    told = window.evidence
    if told is None:
        return
    where = f"reading the evidence of a window of {window.model} version {window.version}"
    count = len(baseline.features)
    named = [one.feature for one in told.features]
    if told.windows > _MOST_WINDOWS:
        found = f"it is of {told.windows} windows, at most {_MOST_WINDOWS} expected"
    elif named and told.windows <= WARM_UP:
        found = f"it is of {told.windows} windows and names features, more than {WARM_UP} expected"
    elif len(set(named)) < len(named):
        found = "a feature is named twice, once expected"
    elif named and max(named) >= count:
        found = f"feature {max(named)} is named, the baseline has {count}"
    elif any(one.log10 > _MOST_LOG10 for one in told.features):
        found = f"a feature has {max(one.log10 for one in told.features)}, at most {_MOST_LOG10} expected"
    else:
        return
    raise QuarantineError("out_of_bounds", f"{where}: {found}")


def take_evidence(session: Session, device_id: str, window: Window, baseline: Baseline, now: datetime) -> None:
    """Keep what a device says with a window that `check_evidence` has passed; it is news if the features have changed.

    What it said with an earlier window comes too late. An agent that has started anew has nothing to say of what came
    before: until it bets again, what it said last holds.
    """
    told = window.evidence
    if told is None:
        return
    features = [[float(one.feature), one.log10] for one in told.features]
    row = session.get(DeviceEvidence, (window.model, window.version, device_id))
    if row is None:
        row = DeviceEvidence(
            model=window.model,
            version=window.version,
            device_id=device_id,
            windows=told.windows,
            tested=len(baseline.features),
            features=features,
            is_told=not features,
            ended_at=window.ended_at,
            updated_at=now,
        )
    elif window.ended_at < row.ended_at or (row.features and not features and told.windows <= WARM_UP):
        return
    else:
        if row.features != features:
            row.features, row.is_told, row.updated_at = features, False, now
            flag_modified(row, "is_told")  # it may be told by now: it is written even if it was read as not told
        row.windows, row.ended_at = told.windows, window.ended_at
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
    reference = reference_of(Baseline.model_validate(baseline))

    def is_known(device_id: str) -> bool:
        look = look_at(recent_windows(session, device_id, model, version, now), reference)
        return is_accepted(session, model, version, look.window, thresholds_of(reference))

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
