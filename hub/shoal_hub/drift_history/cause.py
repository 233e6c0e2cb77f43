"""What is behind drift: which features lead, which devices show it, what they share, since when, and what changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from sqlmodel import Session

from shoal_hub.devices.matching import load_devices
from shoal_hub.drift_history.counts import Totals, nothing
from shoal_hub.drift_history.periods import LENGTH, start_of
from shoal_hub.drift_history.public import (
    CauseDevice,
    CauseFeature,
    CauseHistogram,
    DriftCause,
    Shares,
    Stretch,
)
from shoal_hub.drift_history.scores import UNTESTED, Scores, ks_values, psi_values
from shoal_hub.drift_history.since import DaysBack, Refined, look_back, refine
from shoal_hub.drift_history.stored import Version
from shoal_hub.drift_history.traits import common_traits, traits_of
from shoal_hub.drift_history.watched import Watched
from shoal_hub.monitoring.describe import describe, finite, moved_embedding
from shoal_hub.monitoring.routes import MovedEmbedding
from shoal_hub.monitoring.tables import DriftSignal
from shoal_numerics import detect_drift

STRETCH: Final = timedelta(days=3)
"""How much before it began, and how much since then, is compared at most."""
COMPARED_DEVICES: Final = 50
"""Devices whose histograms are added up, those that show it most."""
FEATURES_EACH: Final = 5
"""Features that are named for one device."""


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    Attributes:
        at: The time at which it was so.
        signal: None: whatever shows then.
        devices: Devices that are told at most.
        features: Features likewise.
        histograms: Of the first of them.
    """

    at: datetime
    signal: DriftSignal | None = None
    devices: int = 20
    features: int = 30
    histograms: int = 6


class _Showing(NamedTuple):
    """Devices that show drift, those that show it most first, and the scores of all devices on that day."""

    devices: list[str]
    scores: Scores | None
    day: datetime


def find_cause(session: Session, version: Version, question: Question) -> DriftCause:
    """Return what is behind drift."""
    showing = _showing(version, question)
    back = look_back(version, showing.devices, showing.day)
    since = _since(version, question, showing, back)
    compared = showing.devices[:COMPARED_DEVICES] or None
    before, after, is_of_devices = _stretches(version, compared, question, since)
    tested = _tested(version, showing)
    drifted = set(showing.devices)
    watched, signal = version.watched, question.signal
    return DriftCause(
        model=version.model,
        version=version.number,
        signal=signal.id if signal is not None else None,
        rule=signal.rule if signal is not None else None,
        at=question.at,
        since=since.at if since is not None else None,
        since_by=since.by if since is not None else None,
        is_earlier=back.is_earlier,
        devices_tested=len(drifted | set(tested)),
        devices_drifted=len(drifted),
        devices=_devices(session, watched, question, showing, back),
        cohorts=common_traits(traits_of(session, {*tested, *drifted}), drifted) if drifted else [],
        days=back.days,
        compared="devices" if is_of_devices else "fleet",
        before=before.public(watched) if before is not None else None,
        after=after.public(watched) if after is not None else None,
        features=_features(watched, question, showing, before, after),
        predictions=_predictions(version, before, after),
    )


def _tested(version: Version, showing: _Showing) -> list[str]:
    scores = showing.scores
    if scores is None:
        return []
    return [scores.devices[at] for at in np.flatnonzero(scores.is_tested(version.watched.thresholds.min_samples))]


def _showing(version: Version, question: Question) -> _Showing:
    """Return the devices that the signal names; without one, those whose day shows drift by the plain rule."""
    day = start_of("day", question.at)
    last = version.last_day(day + LENGTH["day"])
    if last is not None and day - last <= STRETCH:
        day = last
    scores = version.scores_on(day)
    named = list(question.signal.devices) if question.signal is not None else []
    if scores is None:
        return _Showing(named, None, day)
    least = version.watched.thresholds.min_features
    raised = scores.drifted.sum(axis=1) >= least
    chosen = set(named) or {scores.devices[at] for at in np.flatnonzero(raised)}
    distances = np.where(scores.ks == UNTESTED, 0, scores.ks).max(axis=1, initial=0)
    strength = {device: int(most) for device, most in zip(scores.devices, distances, strict=True)}
    return _Showing(sorted(chosen, key=lambda device: (-strength.get(device, 0), device)), scores, day)


def _since(version: Version, question: Question, showing: _Showing, back: DaysBack) -> Refined | None:
    """Return since when the first of the devices shows it; a signal of which no day tells, since it was raised."""
    until = question.at
    if back.since:
        day = min(back.since.values())
        first = [device for device in showing.devices if back.since.get(device) == day]
        if back.is_earlier:
            return Refined(day, "day")
        return refine(version, first, day, max(until, day + LENGTH["day"])) or Refined(day, "day")
    if not showing.devices:
        return None
    found = refine(version, showing.devices, start_of("day", until), until + LENGTH["hour"])
    raised_at = question.signal.raised_at if question.signal is not None else start_of("day", until)
    return found or Refined(raised_at, "window")


class _Compared(NamedTuple):
    since: datetime
    until: datetime
    totals: Totals
    devices: int

    def public(self, watched: Watched) -> Stretch:
        moved = moved_embedding([self.totals.embedding], watched.baseline)
        return Stretch(
            since=self.since,
            until=self.until,
            samples=self.totals.samples,
            devices=self.devices,
            embedding=MovedEmbedding.model_validate(moved) if moved is not None else None,
        )


def _stretches(
    version: Version, devices: list[str] | None, question: Question, since: Refined | None
) -> tuple[_Compared | None, _Compared | None, bool]:
    """Return what was counted before it began and since then, and whether that is of the devices alone."""
    at = question.at + LENGTH["hour"]  # what ended within this hour is of it
    start = since.at if since is not None else start_of("day", question.at)
    times = (start - STRETCH, start), (start, min(at, start + STRETCH))
    if devices is not None:
        found = [version.between(devices, *one) for one in times]
        if found[1] is not None:
            before, after = (_compared(one, total, len(devices)) for one, total in zip(times, found, strict=True))
            return before, after, True
    # Of the fleet whole hours are the finest; of a time longer ago than they are kept, days.
    day = start_of("day", start)
    for begin in (start_of("hour", start), day):
        times = (begin - STRETCH, begin), (begin, min(start_of("day", at) + LENGTH["day"], begin + STRETCH))
        found = [version.between(None, *one) for one in times]
        if found[1] is not None:
            break
    before, after = (_compared(one, total, 0) for one, total in zip(times, found, strict=True))
    return before, after, False


def _compared(times: tuple[datetime, datetime], totals: Totals | None, devices: int) -> _Compared | None:
    return _Compared(*times, totals, devices) if totals is not None else None


def _devices(
    session: Session, watched: Watched, question: Question, showing: _Showing, back: DaysBack
) -> list[CauseDevice]:
    shown = showing.devices[: question.devices]
    known = {row.id: row for row in load_devices(session, shown)}
    scores = showing.scores
    places = {device: at for at, device in enumerate(scores.devices)} if scores is not None else {}
    names = [one.name for one in watched.baseline.features]
    found = []
    for device in shown:
        at, row = places.get(device), known.get(device)
        told: dict[str, Any] = {"samples": 0, "ks": None, "psi": None, "features": []}
        if scores is not None and at is not None:
            ks, psi = ks_values(scores.ks[at]), psi_values(scores.psi[at])
            order = np.argsort(-np.where(scores.drifted[at], np.nan_to_num(ks) + 1, 0), kind="stable")
            told = {
                "samples": int(scores.samples[at]),
                "ks": _largest(ks),
                "psi": _largest(psi),
                "features": [names[one] for one in order[:FEATURES_EACH] if scores.drifted[at][one]],
            }
        name, group = (row.name, row.group) if row is not None else ("", "")
        found.append(CauseDevice(id=device, name=name, group=group, since=back.since.get(device), **told))
    return found


def _largest(values: Any) -> float | None:  # noqa: ANN401 - (features,) float64
    return None if np.isnan(values).all() else finite(float(np.nanmax(values)))


def _features(
    watched: Watched, question: Question, showing: _Showing, before: _Compared | None, after: _Compared | None
) -> list[CauseFeature]:
    """Return the features that lead, by the tests of the time since it began."""
    if after is None:
        return []
    window = after.totals.histogram(watched)
    earlier = before.totals.histogram(watched) if before is not None else nothing(watched).histogram(watched)
    verdict = detect_drift(watched.reference, window, watched.thresholds, watched.categorical)
    was = detect_drift(watched.reference, earlier, watched.thresholds, watched.categorical).features
    rest = [one.feature for one in sorted(verdict.features, key=lambda one: (-np.nan_to_num(one.psi), one.feature))]
    order = [*verdict.leading, *(one for one in rest if one not in set(verdict.leading))][: question.features]
    on_devices = _on_devices(showing, watched.feature_count)
    found: list[CauseFeature] = []
    for place, tests in zip(order, describe(window, watched.reference, watched.baseline, verdict, order), strict=True):
        is_pictured = len(found) < question.histograms
        histogram = CauseHistogram(
            edges=watched.reference.edges.of_feature(place).tolist(),
            reference=watched.reference.of_feature(place).tolist(),
            before=earlier.of_feature(place).tolist(),
            after=window.of_feature(place).tolist(),
        )
        found.append(
            CauseFeature(
                **tests,
                is_drifted=verdict.features[place].is_drifted,
                before_ks=finite(was[place].ks),
                before_psi=finite(was[place].psi),
                devices_drifted=int(on_devices[place]),
                histogram=histogram if is_pictured else None,
            )
        )
    return found


def _on_devices(showing: _Showing, features: int) -> Sequence[int]:
    """Return on how many of the devices that show drift each feature has drifted on that day."""
    if showing.scores is None:
        return [0] * features
    chosen = set(showing.devices)
    rows = np.array([device in chosen for device in showing.scores.devices], dtype=np.bool_)
    counts: list[int] = showing.scores.drifted[rows].sum(axis=0).tolist()
    return counts


def _predictions(version: Version, before: _Compared | None, after: _Compared | None) -> Shares | None:
    watched = version.watched
    reference = watched.baseline.predictions
    if after is None or not reference:
        return None
    counts = [
        one.totals.answers(watched)[0].tolist() if one is not None else [0] * len(reference) for one in (before, after)
    ]
    return Shares(labels=version.labels(), reference=list(reference), before=counts[0], after=counts[1])
