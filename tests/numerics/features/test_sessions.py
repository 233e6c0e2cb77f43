"""Sessions are what their definition says, however a stream is cut into batches and wherever it is resumed."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_contract.features import Feature, FeatureDefinition, SessionWindow
from shoal_numerics import FeatureError
from shoal_numerics.features import FeatureWindows, WindowRows, begin_windows, dump_windows, load_windows
from shoal_numerics.features.sessions import SessionWindows

MS = 1_000_000
GAP, LATE = 10, 25
FEATURES = {
    "events": Feature(aggregate="events"),
    "last": Feature(aggregate="last", field="x"),
    "mean": Feature(aggregate="mean", field="x"),
    "rate": Feature(aggregate="rate"),
    "top": Feature(aggregate="max", field="x"),
}
Event = tuple[str, int, float]
Session = tuple[str, int, int, int, list[float]]


def definition(gap_ms: int = GAP, lateness_ms: int = LATE, **changes: object) -> FeatureDefinition:
    return FeatureDefinition(
        window=SessionWindow(gap_ms=gap_ms, lateness_ms=lateness_ms), **({"features": FEATURES} | changes)
    )


def rows_of(rows: WindowRows) -> list[Session]:
    columns = (rows.entities, rows.start_ns // MS, rows.end_ns // MS, rows.events, rows.values.tolist())
    return [(name, int(a), int(b), int(n), values) for name, a, b, n, values in zip(*columns, strict=True)]


def plainly(events: list[Event], now: int) -> tuple[list[Session], int]:
    """Sessions by their definition, and how many events were late."""
    found, late = [], 0
    for entity in sorted({name for name, _, _ in events}):
        front, taken = -math.inf, []
        for number, (name, at, x) in enumerate(events):
            if name != entity:
                continue
            if at < front - LATE:
                late += 1
            else:
                taken.append((at, number, x))
            front = max(front, at)
        parts: list[list[tuple[int, int, float]]] = []
        for one in sorted(taken):
            if parts and one[0] - parts[-1][-1][0] < GAP:
                parts[-1].append(one)
            else:
                parts.append([one])
        for part in parts:
            times, xs = [one[0] for one in part], [one[2] for one in part]
            if times[-1] + GAP <= max(front, now) - LATE:
                lasted_s = (times[-1] - times[0]) / 1000
                rate = (len(part) - 1) / lasted_s if lasted_s else math.nan
                values = [float(len(part)), xs[-1], float(np.mean(xs)), rate, max(xs)]
                found.append((entity, times[0], times[-1] + GAP, len(part), values))
    return found, late


def same(found: list[Session], wanted: list[Session]) -> None:
    found = sorted(found)
    assert [one[:4] for one in found] == [one[:4] for one in sorted(wanted)]
    for one, other in zip(found, sorted(wanted), strict=True):
        np.testing.assert_allclose(one[4], other[4], rtol=1e-9)


events_of = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 120), st.floats(-100, 100, width=32)), min_size=1, max_size=40
)


@settings(max_examples=150)
@given(events_of, st.lists(st.integers(1, 10), min_size=1), st.integers(100, 300), st.booleans())
def test_sessions_are_what_their_definition_says(
    events: list[Event], cuts: list[int], now: int, restarts: bool
) -> None:
    wanted = definition()
    windows, found, start = begin_windows(wanted), [], 0
    while start < len(events):
        part = events[start : start + cuts[start % len(cuts)]]
        start += len(part)
        times = np.array([at for _, at, _ in part]) * MS
        found += rows_of(windows.add([name for name, _, _ in part], times, [[x] for *_, x in part]))
        late = windows.counts.late
        if restarts:
            windows = load_windows(wanted, dump_windows(windows))
            windows.counts.late = late
    found += rows_of(windows.advance(now * MS))
    sessions, late = plainly(events, now)
    same(found, sessions)
    assert windows.counts.late == late


def test_a_late_event_joins_two_sessions_that_are_open() -> None:
    windows = begin_windows(definition())
    assert not rows_of(windows.add(["a"] * 3, np.array([0, 16, 8]) * MS, [[1], [2], [3]]))
    [(_, start, end, count, values)] = rows_of(windows.advance(1000 * MS))
    assert (start, end, count, values[:3]) == (0, 26, 3, [3.0, 2.0, 2.0])


def test_an_event_that_is_too_late_is_counted_and_changes_nothing() -> None:
    windows = begin_windows(definition(lateness_ms=0))
    [first] = rows_of(windows.add(["a", "a", "a"], np.array([0, 50, 5]) * MS, [[1], [2], [9]]))
    assert (first[1:4], windows.counts.late) == ((0, 10, 1), 1)


def test_a_session_takes_the_place_of_one_row_however_long_it_is() -> None:
    windows = begin_windows(definition(max_entities=1))
    for start in range(0, 100_000, 1000):
        windows.add(["a"] * 200, np.arange(start, start + 1000, 5) * MS, np.zeros((200, 1)))
    [(_, start, _, count, _)] = rows_of(windows.advance(10**9 * MS))
    assert (start, count) == (0, 20_000)
    assert windows.plan.state_bytes < 1000


def test_sessions_of_an_entity_never_overlap_and_are_a_gap_apart() -> None:
    times = np.sort(np.random.default_rng(3).integers(0, 10_000, 500))
    windows = begin_windows(definition())
    found = rows_of(windows.add(["a"] * 500, times * MS, np.zeros((500, 1)))) + rows_of(windows.advance(10**6 * MS))
    assert sum(one[3] for one in found) == 500
    assert all(one[2] <= other[1] for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        (Feature(aggregate="since_last"), "of a session window since_last would always be its gap"),
        (Feature(aggregate="band_power", field="x", low_hz=1, high_hz=2), "band_power of a session"),
    ],
)
def test_what_no_session_has_is_refused(feature: Feature, says: str) -> None:
    with pytest.raises(FeatureError, match=says):
        begin_windows(definition(features={"one": feature}, sampling_hz=100))


def test_each_kind_of_window_begins_as_its_own() -> None:
    assert isinstance(begin_windows(definition()), SessionWindows)
    other = FeatureDefinition.model_validate({"window": {"kind": "count", "size": 1, "every": 1}, "features": FEATURES})
    assert type(begin_windows(other)) is FeatureWindows
