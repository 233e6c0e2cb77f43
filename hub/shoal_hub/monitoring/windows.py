"""Takes in devices' windows: checked against the manifest that they name, stored, and looked at for drift.

A batch at a time: what is the same for all of a version is read once, and their counts are looked at together.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from shoal_contract.telemetry import Window
from shoal_hub.database import JsonText, once_committed
from shoal_hub.meters import WINDOWS_TAKEN
from shoal_hub.monitoring.baselines import Known, known_baseline
from shoal_hub.monitoring.drift import Signals
from shoal_hub.monitoring.duplicates import digest_of, known_digests
from shoal_hub.monitoring.evidence_intake import EvidenceTaken, check_evidence
from shoal_hub.monitoring.new_window import NewWindow, add_windows
from shoal_hub.monitoring.quarantine import QuarantineError, set_aside
from shoal_hub.monitoring.screening import Screened
from shoal_hub.monitoring.sketches import Packed, check_form, check_rows, check_window, where_of
from shoal_numerics import NumericsError, unpack_counts

AHEAD: Final = timedelta(minutes=10)
"""How far a window may end ahead of the hub's clock; up to then it is taken to have ended now."""
LATE: Final = timedelta(days=35)
"""How long after its end a window may come: a device that was away for a month still tells of it."""
_FEW_BYTES: Final = 64
_FEW_COUNTS: Final = 4096
"""Packed counts that are so short, packed and unpacked, are kept unpacked: 256 of them, 8 MB at most."""
_MOST_COUNTS: Final = 100_000
"""Of windows that are looked at together: what a processor's own memory holds, as each is gone through some times."""


class _Formed(NamedTuple):
    """A window whose form is right, with what it is held against; what its counts come to is not known."""

    device_id: str
    window: Window
    known: Known
    packed: Packed


class _Counted(NamedTuple):
    """What the counts of a window come to."""

    drift: float
    is_tested: bool
    may_raise: bool


def take_window(session: Session, device_id: str, window: Window, now: datetime) -> None:
    """Take one window, as `take_windows` does."""
    take_windows(session, [(device_id, window)], now)


def take_windows(session: Session, told: Sequence[tuple[str, Window]], now: datetime) -> None:
    """Store windows and bring drift signals up to date; a bad one is set aside with the reason, never merged.

    A window is counted once, whatever outbox it comes by: a broker that somebody has taken over can withhold the hub's
    word that it has it, and have the device say it again under another stream.

    Args:
        session: An open transaction.
        told: Windows by device id, each device's in their order.
        now: The clock.
    """
    formed = [one for device_id, window in told if (one := _formed(session, device_id, window, now)) is not None]
    counted = _counted(formed)
    digests = [_digest(one) for one in formed]
    known = known_digests(session, digests)
    signals, evidence = Signals(session, now), EvidenceTaken(session, now)
    rows: list[NewWindow] = []
    for one, digest, counts in zip(formed, digests, counted, strict=True):
        found = counts
        if digest in known and not isinstance(found, QuarantineError):
            found = QuarantineError("duplicate", f"{where_of(one.window)}: it has come before")
        if isinstance(found, QuarantineError):
            set_aside(session, one.device_id, one.window, found, now)
            continue
        known.add(digest)
        rows.append(row := _row(one, digest, found, now))
        signals.update(row, one.known, is_tested=found.is_tested, may_raise=found.may_raise)
        evidence.take(one.device_id, one.window, one.known.baseline)
    add_windows(session, rows)
    once_committed(session, partial(WINDOWS_TAKEN.inc, len(rows)))
    evidence.write()


def _formed(session: Session, device_id: str, window: Window, now: datetime) -> _Formed | None:
    try:
        known = known_baseline(session, window.model, window.version)
        _check_times(window, now)
        check_evidence(window, known.baseline)
        return _Formed(device_id, window, known, check_form(window, known.baseline, known.reference))
    except QuarantineError as error:
        set_aside(session, device_id, window, error, now)
        return None


def _counted(formed: Sequence[_Formed]) -> list[_Counted | QuarantineError]:
    """Return what the counts of each window come to, or why they are none."""
    found: dict[int, _Counted | QuarantineError] = {}
    for places in _parts(formed):
        screened = _screened([formed[place] for place in places])
        for at, place in enumerate(places):
            try:
                found[place] = _checked(formed[place], screened, at)
            except QuarantineError as error:
                found[place] = error
    return [found[place] for place in range(len(formed))]


def _checked(one: _Formed, screened: Screened, at: int) -> _Counted:
    if screened.rows[at] < 0:
        check_window(one.window, one.known.baseline, one.known.reference)  # it says what is wrong
    check_rows(one.window, int(screened.rows[at]))
    return _Counted(float(screened.drift[at]), bool(screened.is_tested[at]), bool(screened.may_raise[at]))


def _parts(formed: Sequence[_Formed]) -> Iterator[list[int]]:
    """Yield the places of windows of one version, as many as are looked at together."""
    by_version: dict[int, list[int]] = {}
    for place, one in enumerate(formed):
        by_version.setdefault(id(one.known), []).append(place)
    for places in by_version.values():
        rows, bins = formed[places[0]].known.screen.shape
        most = max(1, _MOST_COUNTS // (rows * bins))
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _screened(windows: Sequence[_Formed]) -> Screened:
    """Look at windows of one version together; counts that cannot be read have -1 rows, as those that cannot be."""
    screen = windows[0].known.screen
    rows, bins = screen.shape
    counts = np.zeros((len(windows), rows * bins), dtype=np.int64)
    missing = np.zeros((len(windows), rows), dtype=np.int64)
    unreadable = []
    for at, one in enumerate(windows):
        try:
            counts[at] = _unpacked(one.packed.features, rows * bins)
            missing[at] = _unpacked(one.packed.missing, rows)
        except NumericsError:
            unreadable.append(at)
    screened = screen.screen(counts.reshape(-1, rows, bins), missing)
    screened.rows[unreadable] = -1
    return screened


def _unpacked(data: bytes, count: int) -> NDArray[np.int64]:
    """Return packed counts; those of missing values are nearly always the same few bytes."""
    is_small = len(data) <= _FEW_BYTES and count <= _FEW_COUNTS
    return _unpacked_few(data, count) if is_small else unpack_counts(data, count)


@lru_cache(maxsize=256)
def _unpacked_few(data: bytes, count: int) -> NDArray[np.int64]:
    counts = unpack_counts(data, count)
    counts.setflags(write=False)
    return counts


def _digest(one: _Formed) -> str:
    window = one.window
    numbers = (window.requests, window.labelled, window.correct)
    # Of a window that holds true values or metrics alone, nothing else tells.
    beside = () if window.performance is None else (window.performance.model_dump_json(exclude_none=True).encode(),)
    counts = (*one.packed, *beside)
    return digest_of(one.device_id, window.model, window.version, window.started_at, numbers, counts)


def _check_times(window: Window, now: datetime) -> None:
    """See that a window lies in a time of which the hub may say that it has been."""
    where = f"reading a window of {window.model} version {window.version}"
    began, ended = window.started_at, window.ended_at
    if began > ended:
        message = f"{where}: it began at {began.isoformat()} and ended at {ended.isoformat()}"
        raise QuarantineError("backwards", message)
    if ended - now > AHEAD:
        message = f"{where}: it ended at {ended.isoformat()}, {ended - now} ahead of the hub's clock, at most {AHEAD}"
        raise QuarantineError("from_the_future", f"{message} expected; set the device's clock")
    if now - ended > LATE:
        message = f"{where}: it ended at {ended.isoformat()}, {now - ended} ago, at most {LATE} expected"
        raise QuarantineError("late", message)


def _row(one: _Formed, digest: str, found: _Counted, now: datetime) -> NewWindow:
    window, performance = one.window, one.window.performance
    return NewWindow(
        device_id=one.device_id,
        model=window.model,
        version=window.version,
        started_at=window.started_at,
        ended_at=max(window.started_at, min(window.ended_at, now)),
        requests=window.requests,
        samples=window.samples,
        errors=window.errors,
        features=one.packed.features,
        missing=one.packed.missing,
        predictions=_json(window.predictions),
        confidence=_json(window.confidence),
        latency=_json(window.latency),
        labelled=window.labelled,
        correct=window.correct,
        received_at=now,
        drift=found.drift if math.isfinite(found.drift) else None,
        embedding=JsonText(window.embedding.model_dump_json()) if window.embedding is not None else None,
        slices=_json([part.model_dump_json() for part in window.slices]) if window.slices is not None else None,
        misfits=JsonText(window.misfits.model_dump_json()) if window.misfits is not None else None,
        left_out={str(part): why for part, why in window.left_out.items()} if window.left_out else None,
        performance=None if performance is None else JsonText(performance.model_dump_json(exclude_none=True)),
        digest=digest,
        unsketched=window.unsketched or 0,
    )


def _json(parts: Sequence[object]) -> JsonText:
    return JsonText(f"[{','.join(map(str, parts))}]")
