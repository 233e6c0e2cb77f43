"""Windows of event streams give what their definition says, however the events are cut into batches."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.numerics.features.plain_windows import PlainWindows, Row

from shoal_contract.features import CountWindow, Feature, FeatureDefinition, TimeWindow
from shoal_numerics import FeatureError
from shoal_numerics.features import FeatureWindows, WindowPlan, WindowRows, dump_windows, load_windows

MS = 1_000_000
AGGREGATES = ("mean", "std", "min", "max", "last")


def definition(window: TimeWindow | CountWindow, max_entities: int = 1000, **more: Any) -> FeatureDefinition:
    features = {f"{one}-{field}": Feature(aggregate=one, field=field) for one in AGGREGATES for field in ("x", "y")}
    features |= {"events": Feature(aggregate="events"), "rate": Feature(aggregate="rate")}
    if isinstance(window, TimeWindow):
        features["quiet"] = Feature(aggregate="since_last")
    return FeatureDefinition(window=window, features=features, max_entities=max_entities, **more)


def by_entity(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.entity, []).append(row)
    return found


def as_rows(found: WindowRows) -> list[Row]:
    columns = zip(found.entities, *(one.tolist() for one in found[1:]), strict=True)
    return [Row(*row) for row in columns]


def assert_same(found: list[Row], expected: list[Row]) -> None:
    mine, theirs = by_entity(found), by_entity(expected)
    assert mine.keys() == theirs.keys()
    for entity, rows in theirs.items():
        plain = [(row.start_ns, row.end_ns, row.events) for row in rows]
        assert [(row.start_ns, row.end_ns, row.events) for row in mine[entity]] == plain
        for row, other in zip(mine[entity], rows, strict=True):
            np.testing.assert_allclose(row.values, other.values, rtol=1e-9, atol=1e-6)


VALUES = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([math.nan, math.inf, -math.inf, 1e300, 0.0]))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.integers(-50, 400), st.tuples(VALUES, VALUES)),
        st.integers(-50, 500),  # the clock goes on to there
    ),
    max_size=60,
)
WINDOWS = st.one_of(
    st.builds(
        lambda every, panes, lateness: TimeWindow(size_ms=every * panes, every_ms=every, lateness_ms=lateness),
        st.integers(1, 40),
        st.integers(1, 9),
        st.integers(0, 60),
    ),
    st.builds(lambda every, panes: CountWindow(size=every * panes, every=every), st.integers(1, 5), st.integers(1, 9)),
)


def cut(events: list[Any], sizes: list[int]) -> list[list[Any]]:
    """Events in batches, none of which reaches over a step of the clock."""
    batches: list[list[Any]] = []
    turn = iter(sizes * (len(events) + 1))
    room = 0
    for event in events:
        if isinstance(event, int):
            batches.append([event])
            room = 0
            continue
        if room <= 0:
            batches.append([])
            room = next(turn)
        batches[-1].append(event)
        room -= 1
    return batches


@given(WINDOWS, EVENTS, st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 4), st.booleans())
def test_windows_agree_with_their_definition_however_events_are_cut(
    window: TimeWindow | CountWindow, events: list[Any], sizes: list[int], entities: int, restarts: bool
) -> None:
    wanted = definition(window, max_entities=entities)
    windows, plain = FeatureWindows(wanted), PlainWindows(wanted)
    found: list[Row] = []
    for batch in cut(events, sizes):
        if isinstance(batch[0], int):
            found += as_rows(windows.advance(batch[0] * MS))
            continue
        names, times, values = zip(*batch, strict=True)
        found += as_rows(windows.add(names, np.array(times) * MS, np.array(values)))
        windows = load_windows(wanted, dump_windows(windows)) if restarts else windows
    expected: list[Row] = []
    for event in events:
        expected += (
            plain.advance(event * MS) if isinstance(event, int) else plain.add(event[0], event[1] * MS, event[2])
        )
    assert_same(found, expected)


@given(WINDOWS, EVENTS, st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_counts_extremes_and_last_values_are_the_same_to_the_bit(
    window: TimeWindow | CountWindow, events: list[Any], sizes: list[int]
) -> None:
    exact = {f"{one}-x": Feature(aggregate=one, field="x") for one in ("min", "max", "last")}
    wanted = FeatureDefinition(window=window, features=exact | {"events": Feature(aggregate="events")})
    events = [event for event in events if not isinstance(event, int)]
    found = []
    for batches in (cut(events, sizes), [events]):
        windows = FeatureWindows(wanted)
        rows: list[Row] = []
        for batch in batches:
            times = np.array([event[1] for event in batch], dtype=np.int64) * MS
            rows += as_rows(windows.add([event[0] for event in batch], times, [event[2][0] for event in batch]))
        found.append({entity: repr(rows) for entity, rows in by_entity(rows).items()})
    assert found[0] == found[1]


def test_an_event_counts_until_its_window_has_closed_and_is_counted_as_late_from_then_on() -> None:
    wanted = definition(TimeWindow(size_ms=100, every_ms=100, lateness_ms=50))
    windows = FeatureWindows(wanted)

    def add(at_ms: int) -> list[int]:
        return windows.add(["a"], [at_ms * MS], [[1.0, 1.0]]).events.tolist()

    assert [add(at_ms) for at_ms in (10, 149, 99, 150, 99, 240)] == [[], [], [], [2], [], []]
    assert (windows.counts.late, windows.counts.taken, windows.counts.windows) == (1, 5, 1)


def test_the_clock_closes_the_windows_of_entities_that_are_silent() -> None:
    windows = FeatureWindows(definition(TimeWindow(size_ms=100, every_ms=100)))
    windows.add(["a", "b"], [10 * MS, 20 * MS], [[1.0, 2.0], [3.0, 4.0]])
    assert windows.advance(99 * MS).entities == []
    assert sorted(windows.advance(100 * MS).entities) == ["a", "b"]
    assert windows.advance(10_000 * MS).entities == []


def test_missing_values_are_in_no_aggregate_and_are_counted_and_their_event_still_counts() -> None:
    wanted = definition(CountWindow(size=3, every=3))
    windows = FeatureWindows(wanted)
    found = windows.add(["a"] * 3, [0.0, 1.0, 2.0], [[1.0, math.nan], [math.nan, math.inf], [3.0, math.nan]])
    row = dict(zip(windows.plan.names, found.values[0].tolist(), strict=True))
    assert (row["mean-x"], row["events"], row["last-x"], row["rate"]) == (2.0, 3.0, 3.0, 1.0)
    assert math.isnan(row["mean-y"])
    assert math.isnan(row["last-y"])
    assert windows.counts.missing == 4


def test_a_large_mean_does_not_drown_a_small_deviation() -> None:
    wanted = definition(CountWindow(size=1000, every=1000))
    values = 1e9 + np.random.default_rng(0).normal(size=1000)
    windows = FeatureWindows(wanted)
    found = [windows.add(["a"] * 10, np.arange(10), np.stack([part, part], axis=1)) for part in np.split(values, 100)]
    row = dict(zip(windows.plan.names, found[-1].values[0].tolist(), strict=True))
    assert row["std-x"] == pytest.approx(float(np.std(values)), rel=1e-6)


def test_the_stalest_entity_gives_way_and_comes_back_with_empty_windows() -> None:
    windows = FeatureWindows(definition(CountWindow(size=2, every=1), max_entities=2))
    pair = [[0.0, 0.0]]
    for name in "abac":  # b is the stalest as c comes
        windows.add([name], [0], pair)
    assert windows.counts.evicted == 1
    assert windows.add(["a"], [0], pair).entities == ["a"]
    assert windows.add(["b"], [0], pair).entities == []


def test_memory_stays_within_the_plan_whatever_comes() -> None:
    wanted = definition(TimeWindow(size_ms=100, every_ms=10, lateness_ms=30), max_entities=20)
    windows = FeatureWindows(wanted)
    random = np.random.default_rng(1)
    for _ in range(30):
        names = [f"e{n}" for n in random.integers(0, 60, size=200)]
        windows.add(names, random.integers(0, 10_000, size=200) * MS, random.normal(size=(200, 2)))
    live = windows.entities.live()
    assert len(live) == 20
    assert len(windows.ring.read(live).panes.slot) <= 20 * windows.plan.ring
    held = sum(column.nbytes for column in windows.ring.read(live).panes)
    assert held <= windows.plan.state_bytes
    assert windows.ring.slots == 20


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_windows_of_each_event_agree_with_their_definition(size: int) -> None:
    wanted = definition(CountWindow(size=size, every=1))
    windows, plain = FeatureWindows(wanted), PlainWindows(wanted)
    random = np.random.default_rng(5)
    names = random.choice(["a", "b"], size=300).tolist()
    times = np.arange(300) * MS
    values = np.where(random.random((300, 2)) < 0.2, np.nan, 1e6 + random.normal(size=(300, 2)))
    found: list[Row] = []
    for part in (slice(0, 120), slice(120, 121), slice(121, 300)):
        found += as_rows(windows.add(names[part], times[part], values[part]))
    events = zip(names, times.tolist(), values.tolist(), strict=True)
    assert_same(found, [row for name, at_ns, row in events for row in plain.add(name, at_ns, tuple(row))])


def test_a_restart_gives_out_no_window_again_and_forgets_none() -> None:
    wanted = definition(CountWindow(size=4, every=2))
    windows = FeatureWindows(wanted)
    ends = []
    for at_s in range(12):
        ends += windows.add(["a"], [at_s * 1000 * MS], [[1.0, 2.0]]).end_ns.tolist()
        windows = load_windows(wanted, dump_windows(windows))
    assert ends == [at_s * 1000 * MS for at_s in (3, 5, 7, 9, 11)]


def test_a_state_that_was_damaged_or_is_of_other_windows_is_refused() -> None:
    wanted = definition(CountWindow(size=4, every=2))
    windows = FeatureWindows(wanted)
    windows.add(["a"], [0], [[1.0, 2.0]])
    data = dump_windows(windows)
    for broken in (b"", data[:-1], data[:100] + b"\x00" + data[101:]):
        with pytest.raises(FeatureError, match="hash"):
            load_windows(wanted, broken)
    with pytest.raises(FeatureError, match="expected"):
        load_windows(definition(CountWindow(size=6, every=2)), data)


@pytest.mark.parametrize(
    ("times", "values", "said"),
    [
        ([0, 1], [[0.0, 0.0]], "1 entities"),
        ([0], [[0.0]], "expected times"),
        ([math.nan], [[0.0, 0.0]], "NaN"),
        ([1 << 62], [[0.0, 0.0]], "at most"),
        (["now"], [[0.0, 0.0]], "int64 in ns or float64 in s"),
    ],
)
def test_events_of_another_form_are_refused_and_none_is_taken(times: list[Any], values: Any, said: str) -> None:
    windows = FeatureWindows(definition(CountWindow(size=1, every=1)))
    with pytest.raises(FeatureError, match=said):
        windows.add(["a"], times, values)
    assert windows.counts.taken == 0
    assert windows.add([], [], []).entities == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": TimeWindow(size_ms=100, every_ms=30)}, "multiple"),
        ({"window": TimeWindow(size_ms=86_400_000, every_ms=1)}, "multiple"),
        ({"features": {"a": Feature(aggregate="mean")}}, "expected the field"),
        ({"features": {"a": Feature(aggregate="rate", field="x")}}, "expected no field"),
        ({"window": CountWindow(size=2, every=1), "features": {"a": Feature(aggregate="since_last")}}, "always be 0"),
        ({"features": {"a": Feature(aggregate="band_power", field="x", low_hz=1, high_hz=2)}}, "sampling_hz"),
        ({"window": TimeWindow(size_ms=4_000_000, every_ms=1000), "max_entities": 100_000}, "Lower max_entities"),
    ],
)
def test_a_definition_that_cannot_be_computed_says_why(fields: dict[str, Any], said: str) -> None:
    usual = definition(TimeWindow(size_ms=100, every_ms=50)).model_dump()
    with pytest.raises(FeatureError, match=said):
        WindowPlan.of(FeatureDefinition.model_validate(usual | fields))


def test_rates_alone_need_no_field() -> None:
    wanted = FeatureDefinition(
        window=TimeWindow(size_ms=1000, every_ms=1000), features={"rate": Feature(aggregate="rate")}
    )
    windows = FeatureWindows(wanted)
    windows.add(["a"] * 5, np.arange(5) * 100 * MS, np.zeros((5, 0)))
    assert windows.advance(1000 * MS).values.tolist() == [[5.0]]
