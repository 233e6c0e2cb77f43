"""Takes in what devices say of their own evidence with their windows, a batch at a time."""

import json
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, bindparam, insert, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, Window
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import JsonText, as_texts, is_among
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_hub.monitoring.tables import DeviceEvidence
from shoal_numerics.drift_evidence import MIN_WARM_UP_WINDOWS, EvidenceSettings

WARM_UP: Final = EvidenceSettings().warm_up_windows
"""Windows of a device in which it bets nothing, and has nothing to say, unless it says otherwise."""
_MOST_WINDOWS: Final = 2**31 - 1
_MOST_LOG10: Final = 12
"""Of what a device's bets may ever come to."""
_Key = tuple[str, int, str]
"""Model, version and device."""


class _Told(NamedTuple):
    """What a device says with a window that had so many samples; `tested` are the features of the baseline."""

    evidence: DriftEvidenceTold
    ended_at: datetime
    tested: int
    samples: int


class _Kept(NamedTuple):
    """A row of `DeviceEvidence`, and whether its features are not those that are in the table."""

    windows: int
    tested: int
    features: list[list[float]]
    ended_at: datetime
    samples: int
    is_news: bool = False


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
    elif named and told.windows <= (told.warm_up_windows or WARM_UP):
        expected = told.warm_up_windows or WARM_UP
        found = f"it is of {told.windows} windows and names features, more than {expected} expected"
    elif named and (told.warm_up_windows or WARM_UP) < MIN_WARM_UP_WINDOWS:
        found = f"it bets after {told.warm_up_windows} windows, at least {MIN_WARM_UP_WINDOWS} expected"
    elif len(set(named)) < len(named):
        found = "a feature is named twice, once expected"
    elif named and max(named) >= count:
        found = f"feature {max(named)} is named, the baseline has {count}"
    elif any(one.log10 > _MOST_LOG10 for one in told.features):
        found = f"a feature has {max(one.log10 for one in told.features)}, at most {_MOST_LOG10} expected"
    else:
        return
    raise QuarantineError("out_of_bounds", f"{where}: {found}")


class EvidenceTaken:
    """What devices say of their evidence with the windows of one batch: read at once, and written at once.

    Args:
        session: An open transaction.
        now: The hub's time.
    """

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self._now = now
        self._told: dict[_Key, list[_Told]] = {}

    def take(self, device_id: str, window: Window, baseline: Baseline) -> None:
        """Take what came with a window that `check_evidence` has passed."""
        if window.evidence is not None:
            told = _Told(window.evidence, window.ended_at, len(baseline.features), window.samples)
            self._told.setdefault((window.model, window.version, device_id), []).append(told)

    def write(self) -> None:
        """Keep it; it is news if the features have changed.

        What a device said with an earlier window comes too late. An agent that has started anew has nothing to say of
        what came before: until it bets again, what it said last holds.
        """
        before = self._stored()
        fresh, changed, seen = [], [], []
        for key, told in sorted(self._told.items()):
            row = kept = before.get(key)
            for one in told:
                row = _after(row, one)
            if row is None:
                continue
            values = {"of_model": key[0], "of_version": key[1], "of_device": key[2], "windows_now": row.windows}
            values |= {"ended_now": row.ended_at, "samples_now": row.samples, "at": self._now}
            if kept is not None and not row.is_news:
                seen.append(values)
                continue
            values |= {"features_now": JsonText(json.dumps(row.features))}
            if kept is None:
                fresh.append(values | {"tested_now": row.tested, "is_told_now": not row.features})
            else:
                changed.append(values)
        _ADD.execute(self._session, fresh)
        _CHANGE.execute(self._session, changed)
        _SEE.execute(self._session, seen)

    def _stored(self) -> dict[_Key, _Kept]:
        """Return what is kept of the devices; other rows of them, of other versions, are few."""
        if not self._told:
            return {}
        models, devices = {one[0] for one in self._told}, {one[2] for one in self._told}
        rows = _STORED.rows(self._session, models=as_texts(models), devices=as_texts(devices))
        return {(model, version, device): _Kept(*values) for model, version, device, *values in rows}


def _after(row: _Kept | None, told: _Told) -> _Kept | None:
    """Return what is kept of a device once it has said something. Pure."""
    evidence, ended_at = told.evidence, told.ended_at
    features = [[float(one.feature), one.log10] for one in evidence.features]
    if row is None:
        return _Kept(evidence.windows, told.tested, features, ended_at, told.samples if features else 0, is_news=True)
    is_late = ended_at < row.ended_at and evidence.windows <= row.windows
    is_learning = evidence.windows <= (evidence.warm_up_windows or WARM_UP)
    if is_late or (row.features and not features and is_learning):
        return row
    samples = (row.samples if row.features else 0) + told.samples if features else 0
    is_news = row.is_news or row.features != features
    return _Kept(evidence.windows, row.tested, features, ended_at, samples, is_news=is_news)


_COLUMNS: Final[list[Any]] = [
    getattr(DeviceEvidence, name)
    for name in ("model", "version", "device_id", "windows", "tested", "features", "ended_at", "samples")
]
_STORED: Final = Query(
    select_columns(*_COLUMNS)
    .where(
        is_among(col(DeviceEvidence.model), bindparam("models", type_=String())),
        is_among(col(DeviceEvidence.device_id), bindparam("devices", type_=String())),
    )
    .order_by(col(DeviceEvidence.model), col(DeviceEvidence.version), col(DeviceEvidence.device_id))
)
_ADD: Final = Bulk(
    insert(DeviceEvidence).values(
        model=bindparam("of_model"),
        version=bindparam("of_version"),
        device_id=bindparam("of_device"),
        windows=bindparam("windows_now"),
        tested=bindparam("tested_now"),
        features=bindparam("features_now"),
        is_told=bindparam("is_told_now"),
        ended_at=bindparam("ended_now"),
        samples=bindparam("samples_now"),
        updated_at=bindparam("at"),
        heard_at=bindparam("at"),
    )
)
_OF_ONE: Final = (
    col(DeviceEvidence.model) == bindparam("of_model"),
    col(DeviceEvidence.version) == bindparam("of_version"),
    col(DeviceEvidence.device_id) == bindparam("of_device"),
)
_WINDOW: Final[dict[str, Any]] = {
    "windows": bindparam("windows_now"),
    "ended_at": bindparam("ended_now"),
    "samples": bindparam("samples_now"),
    "heard_at": bindparam("at"),
}
_SEE: Final = Bulk(update(DeviceEvidence).where(*_OF_ONE).values(_WINDOW))
_CHANGE: Final = Bulk(
    update(DeviceEvidence)
    .where(*_OF_ONE)
    .values({**_WINDOW, "features": bindparam("features_now"), "is_told": False, "updated_at": bindparam("at")})
)
