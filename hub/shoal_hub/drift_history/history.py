"""How a version's inputs have lain against its baseline over time: of the fleet, a cohort, a device or any devices."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal_hub.drift_history.counts import Totals
from shoal_hub.drift_history.periods import Whose
from shoal_hub.drift_history.public import DriftHistory, FeatureHistory, HistoryPeriod, Thresholds
from shoal_hub.drift_history.scores import MOST, UNTESTED, block_of, ks_values, psi_values
from shoal_hub.drift_history.stored import Version
from shoal_hub.drift_history.tables import Span
from shoal_hub.drift_history.watched import Watched
from shoal_hub.monitoring.describe import describe, finite, moved_embedding
from shoal_hub.monitoring.routes import MovedEmbedding
from shoal_numerics import DriftVerdict, detect_drift

DEFAULT: Final[dict[Span, timedelta]] = {"hour": timedelta(days=2), "day": timedelta(days=30)}
"""How far a history goes back that is not asked for another time."""
MAX_PERIODS: Final = 1000
_CODES: Final = UNTESTED + 1
_BITS: Final = np.unpackbits(np.arange(_CODES, dtype=np.uint8)[:, np.newaxis], axis=1).astype(np.int64)
"""The bits of each byte, (256, 8)."""
_BITS_SET: Final = _BITS.sum(axis=1).astype(np.uint8)
_MEDIAN: Final = 0.5
_HIGH: Final = 0.9


@dataclass(frozen=True)
class Asked:
    """What of a history is wanted.

    Attributes:
        whose: A scope with periods of its own; None: devices, of whose days the scores are known.
        devices: Whose scores; None: everyone's.
        of: The same in words.
        names: Features by name; None: those that lead.
        limit: Features at most.
    """

    span: Span
    since: datetime
    until: datetime
    whose: Whose | None
    devices: AbstractSet[str] | None
    of: str
    names: Sequence[str] | None
    limit: int


class _Day(NamedTuple):
    """What the scores of a day's devices come to.

    Attributes:
        devices: That were tested.
        raised: Those of them that show drift by the plain rule.
        drifted: (features,) devices on which each feature has drifted.
        codes: (features, 256) how many devices have each code of the distance.
        psi: (features,) uint8 codes of the one device that is asked for; None: several are.
    """

    devices: int
    raised: int
    drifted: NDArray[np.int64]
    codes: NDArray[np.int64]
    psi: NDArray[np.uint8] | None = None


class _Told(NamedTuple):
    """A period: its counts and verdict, where they are known, and the scores of its day."""

    totals: Totals | None
    verdict: DriftVerdict | None
    day: _Day | None


def read_history(version: Version, asked: Asked) -> DriftHistory:
    """Return a history."""
    watched = version.watched
    counted = _counted(version, asked)
    days = _days(version, asked) if asked.span == "day" else {}
    told: dict[datetime, _Told] = {}
    for at in sorted({*counted, *days}):
        total = counted.get(at)
        verdict = None
        if total is not None:
            verdict = detect_drift(watched.reference, total.histogram(watched), watched.thresholds, watched.categorical)
        told[at] = _Told(total, verdict, days.get(at))
    positions = _positions(watched, asked, told)
    limits = watched.thresholds
    return DriftHistory(
        model=version.model,
        version=version.number,
        by=asked.span,
        of=asked.of,
        since=asked.since,
        until=asked.until,
        source="counts" if counted or asked.whose is not None else "scores",
        thresholds=Thresholds(
            psi=limits.psi, p_value=limits.p_value, min_samples=limits.min_samples, min_features=limits.min_features
        ),
        periods=[_period(at, one, watched) for at, one in told.items()],
        features=_features(told.values(), watched, positions),
        features_in_all=watched.feature_count,
    )


def _counted(version: Version, asked: Asked) -> dict[datetime, Totals]:
    if asked.whose is None:
        return {}
    return {at: total for _, at, total in version.periods(asked.span, asked.whose, asked.since, asked.until)}


def _days(version: Version, asked: Asked) -> dict[datetime, _Day]:
    """Return what the scores of each day come to, of the devices that are asked for."""
    whose, devices = asked.whose, asked.devices
    if whose is not None and whose.scope in {"group", "tag"}:
        return {}  # who was in it on a day is not known any more
    alone = whose.name if whose is not None and whose.scope == "device" else None
    devices = {alone} if alone is not None else devices
    columns = ("samples", "drifted", "ks") if devices is None else ("samples", "drifted", "ks", "psi", "devices")
    block = block_of(alone) if alone is not None else None
    found: dict[datetime, _Day] = {}
    # Blocks of a day are looked at together: of a thousand small arrays the work would be numpy's own.
    for at, rows in groupby(version.blocks(asked.since, asked.until, columns, block), lambda row: row.started_at):
        day = _day_of(list(rows), devices, version.watched)
        if day is not None:
            found[at] = day
    return found


def _day_of(rows: Sequence[Any], devices: AbstractSet[str] | None, watched: Watched) -> _Day | None:
    features, limits = watched.feature_count, watched.thresholds
    samples = np.frombuffer(b"".join(row.samples for row in rows), dtype="<u8")
    ks = np.frombuffer(b"".join(row.ks for row in rows), dtype=np.uint8).reshape(-1, features)
    bits = np.frombuffer(b"".join(row.drifted for row in rows), dtype=np.uint8).reshape(len(ks), -1)
    psi = None
    if devices is not None:
        names = "\n".join(row.devices for row in rows).split("\n")
        at = [place for place, one in enumerate(names) if one in devices]
        if not at:
            return None
        samples, ks, bits = samples[at], ks[at], bits[at]
        if len(devices) == 1:
            psi = np.frombuffer(b"".join(row.psi for row in rows), dtype=np.uint8).reshape(-1, features)[at[0]]
    is_tested = samples >= limits.min_samples
    raised = _BITS_SET[bits].sum(axis=1, dtype=np.int64) >= limits.min_features
    drifted = np.concatenate([np.bincount(column, minlength=_CODES) @ _BITS for column in bits.T])[:features]
    columns = np.arange(features) * _CODES
    codes = np.bincount((ks + columns).ravel(), minlength=features * _CODES).reshape(features, _CODES)
    return _Day(int(is_tested.sum()), int(raised.sum()), drifted, codes, psi)


def _positions(watched: Watched, asked: Asked, told: Mapping[datetime, _Told]) -> list[int]:
    """Return the features that are wanted: by name, or those that lead, in the order of the largest distance."""
    names = [one.name for one in watched.baseline.features]
    if asked.names is not None:
        return [names.index(name) for name in asked.names][: asked.limit]
    strength = np.zeros(watched.feature_count)
    for one in told.values():
        if one.verdict is not None:
            strength = np.fmax(strength, [feature.ks for feature in one.verdict.features])
        elif one.day is not None:
            strength = np.fmax(strength, _quantile(one.day.codes, _HIGH))
    order = np.argsort(-strength, kind="stable")
    return [int(place) for place in order[: asked.limit]]


def _period(at: datetime, told: _Told, watched: Watched) -> HistoryPeriod:
    total, verdict, day = told
    moved = moved_embedding([total.embedding], watched.baseline) if total is not None else None
    return HistoryPeriod(
        started_at=at,
        windows=total.windows if total is not None else None,
        requests=total.requests if total is not None else None,
        samples=total.samples if total is not None else None,
        errors=total.errors if total is not None else None,
        labelled=total.labelled if total is not None else None,
        correct=total.correct if total is not None else None,
        is_drifted=verdict.is_raised if verdict is not None and verdict.is_tested else None,
        devices=day.devices if day is not None else None,
        devices_drifted=day.raised if day is not None else None,
        embedding=MovedEmbedding.model_validate(moved) if moved is not None else None,
    )


_TESTED: Final = (
    "ks",
    "resolution",
    "p_value",
    "psi",
    "jensen_shannon",
    "chi_squared",
    "mean_change",
    "variance_ratio",
    "missing_ratio",
)


_SERIES: Final = tuple(name for name in FeatureHistory.model_fields if name not in {"name", "kind"})


def _features(told: Iterable[_Told], watched: Watched, positions: Sequence[int]) -> list[FeatureHistory]:
    """Return the features' series: a period after the other."""
    columns = [_column(one, watched, positions) for one in told]
    baseline = watched.baseline
    return [
        FeatureHistory(
            name=baseline.features[position].name,
            kind="categorical" if watched.categorical[position] else "numeric",
            **{name: [column[place][name] for column in columns] for name in _SERIES},
        )
        for place, position in enumerate(positions)
    ]


def _column(told: _Told, watched: Watched, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Return what a period says of each feature that is wanted."""
    cells: list[dict[str, Any]] = [dict.fromkeys(_SERIES) for _ in positions]
    total, verdict, day = told
    if total is not None and verdict is not None:
        found = describe(total.histogram(watched), watched.reference, watched.baseline, verdict, positions)
        for cell, position, tests in zip(cells, positions, found, strict=True):
            cell.update({name: tests[name] for name in _TESTED})
            cell["is_drifted"] = verdict.features[position].is_drifted if tests["ks"] is not None else None
    if day is not None:
        middle, high = _quantile(day.codes, _MEDIAN), _quantile(day.codes, _HIGH)
        for cell, position in zip(cells, positions, strict=True):
            cell["devices_drifted"] = int(day.drifted[position])
            cell["device_ks_median"], cell["device_ks_p90"] = finite(middle[position]), finite(high[position])
            if verdict is None and day.psi is not None:  # the scores of one device are what is left of its day
                cell["ks"] = finite(middle[position])
                cell["psi"] = finite(float(psi_values(day.psi[position : position + 1])[0]))
                cell["is_drifted"] = bool(day.drifted[position])
    return cells


def _quantile(codes: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """Return a quantile of each feature's distances over devices; NaN where none was tested."""
    tested = codes[:, : MOST + 1]
    cumulated = tested.cumsum(axis=1)
    totals = cumulated[:, -1:]
    places = (cumulated < np.maximum(np.ceil(share * totals), 1)).sum(axis=1)
    values = ks_values(np.minimum(places, MOST).astype(np.uint8))
    return np.where(totals[:, 0] > 0, values, np.nan)
