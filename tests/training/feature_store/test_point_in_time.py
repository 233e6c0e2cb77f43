"""Training sets have what was known at each label's time, and every label."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal_contract.feature_views import FeatureView
from shoal_training.errors import DataError
from shoal_training.feature_store import matching
from shoal_training.feature_store.point_in_time import training_set
from shoal_training.feature_store.views import ViewRows

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400


def times(*hours: float | None, unit: str = "us") -> pa.Array:
    kind = pa.timestamp(unit, tz="UTC")
    return pa.array([None if one is None else START + timedelta(hours=one) for one in hours], kind)


def labels(*rows: tuple[Any, float | None]) -> pa.Table:
    return pa.table({"driver": [row[0] for row in rows], "event_time": times(*(row[1] for row in rows))})


def view(*rows: tuple[Any, float, float, float | None], **feature: Any) -> ViewRows:
    """Rows of (driver, hour, known at hour, rating)."""
    columns = list(zip(*rows, strict=True)) or [()] * 4
    table = pa.table(
        {
            "driver": pa.array(columns[0], pa.string()) if not rows else list(columns[0]),
            "event_time": times(*columns[1]),
            "created": times(*columns[2]),
            "rating": pa.array(columns[3], pa.float64()),
        }
    )
    known = FeatureView.model_validate({"features": {"rating": feature}})
    return ViewRows("drivers", known, table, ("driver",), created="created")


def ratings(*args: Any, **options: Any) -> list[float | None]:
    return training_set(*args, **options).table["drivers/rating"].to_pylist()  # type: ignore[no-any-return]


def test_the_latest_value_up_to_the_label_s_time_is_taken() -> None:
    rows = view(("a", 1, 1, 0.1), ("a", 3, 3, 0.3), ("a", 5, 5, 0.5), ("b", 2, 2, 0.9))
    assert ratings(labels(("a", 4), ("a", 3), ("b", 9)), [rows]) == [0.3, 0.3, 0.9]


def test_no_label_is_lost_and_their_order_stays() -> None:
    found = training_set(
        labels(("c", 4), ("a", 0), (None, 4), ("a", None), ("a", 4), ("a", 4)), [view(("a", 1, 1, 0.1))]
    )
    assert found.table["drivers/rating"].to_pylist() == [None, None, None, None, 0.1, 0.1]
    assert found.table["driver"].to_pylist() == ["c", "a", None, "a", "a", "a"]
    assert found.reports[0].missing == 4


def test_a_value_that_became_known_after_the_label_s_time_is_not_used() -> None:
    backfilled = view(("a", 1, 1, 0.1), ("a", 3, 30, 0.3))
    found = training_set(labels(("a", 4), ("a", 31)), [backfilled])
    assert found.table["drivers/rating"].to_pylist() == [0.1, None]  # 0.3 is more than a day old by then
    assert (found.reports[0].withheld, found.reports[0].expired) == (1, {"rating": 1})


def test_a_correction_counts_from_when_it_was_known() -> None:
    rows = view(("a", 1, 1, 0.1), ("a", 1, 5, 0.9), ("a", 0, 6, 0.5))
    assert ratings(labels(("a", 4), ("a", 5), ("a", 7)), [rows]) == [0.1, 0.9, 0.9]


def test_a_bulk_backfill_under_one_created_time_gives_its_latest_value() -> None:
    rows = view(("a", 3, 9, 0.3), ("a", 1, 9, 0.1), ("a", 2, 9, 0.2))
    assert ratings(labels(("a", 8), ("a", 10)), [rows]) == [None, 0.3]


def test_a_value_that_is_too_old_gives_way_to_the_fallback() -> None:
    rows = view(("a", 0, 0, 0.1), ttl_s=3600, fallback=0.5)
    assert ratings(labels(("a", 1), ("a", 1.01), ("b", 1)), [rows]) == [0.1, 0.5, 0.5]


def test_a_value_that_is_none_gives_way_to_the_fallback_as_on_devices() -> None:
    rows = view(("a", 0, 0, float("nan")), ("b", 0, 0, None), fallback=0.5)
    assert ratings(labels(("a", 1), ("b", 1)), [rows]) == [0.5, 0.5]


def test_many_views_are_joined_at_once() -> None:
    trips = pa.table({"city": [1, 1], "zone": ["x", "y"], "event_time": times(0, 0, unit="ns"), "trips": [7, 8]})
    by_zone = ViewRows(
        "zones", FeatureView.model_validate({"features": {"trips": {"fallback": 0}}}), trips, ("city", "zone")
    )
    asked = labels(("a", 1), ("b", 1)).append_column("city", pa.array([1, 2], pa.int8()))
    asked = asked.append_column("zone", pa.array(["y", "y"]).dictionary_encode())
    found = training_set(asked, [view(("a", 0, 0, 0.1)), by_zone]).table
    assert found.column_names == ["driver", "event_time", "city", "zone", "drivers/rating", "zones/trips"]
    assert found["zones/trips"].to_pylist() == [8, 0]
    assert found["zones/trips"].type == pa.int64()


def test_times_differ_by_a_nanosecond() -> None:
    at = pa.array([1_700_000_000_000_000_001, 1_700_000_000_000_000_000], pa.timestamp("ns", tz="UTC"))
    asked = pa.table({"driver": ["a", "a"], "event_time": at})
    rows = pa.table({"driver": ["a"], "event_time": at[:1], "rating": [0.1]})
    found = training_set(
        asked, [ViewRows("d", FeatureView.model_validate({"features": {"rating": {}}}), rows, ("driver",))]
    ).table
    assert found["d/rating"].to_pylist() == [0.1, None]


def test_a_guess_of_the_future_is_told() -> None:
    found = training_set(labels(("a", 4), ("a", 1)), [view(("a", 3, 1, 0.3))])
    assert found.table["drivers/rating"].to_pylist() == [0.3, None]
    assert "1 rows known before their time" in found.reports[0].told()


def test_rows_that_contradict_each_other_are_refused_by_number() -> None:
    rows = view(("b", 1, 1, 0.4), ("a", 1, 1, 0.1), ("a", 1, 1, 0.2))
    with pytest.raises(DataError, match="rows 3 and 2|rows 2 and 3"):
        training_set(labels(("a", 4)), [rows])
    assert ratings(labels(("a", 4)), [rows], on_duplicates="last") == [0.2]


def test_the_same_row_twice_is_counted_and_harmless() -> None:
    found = training_set(labels(("a", 4)), [view(("a", 1, 1, 0.1), ("a", 1, 1, 0.1))])
    assert found.table["drivers/rating"].to_pylist() == [0.1]
    assert found.reports[0].duplicates == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"driver": [1]}, "the key driver is int64, that of the labels large_string"),
        ({"event_time": ["yesterday"]}, "column event_time is string, expected timestamps"),
        ({"event_time": times(None)}, "1 rows have no event_time, rows 1 first"),
        ({"rating": ["good"]}, "drivers/rating is string with the fallback 1, expected numbers"),
        ({"event_time": pa.array([10**12], pa.timestamp("s"))}, "expected years from 1678 to 2261"),
    ],
)
def test_columns_that_can_not_be_joined_are_named(change: dict[str, Any], says: str) -> None:
    table = pa.table({"driver": ["a"], "event_time": times(0), "created": times(0), "rating": [0.1]} | change)
    known = FeatureView.model_validate({"features": {"rating": {"fallback": 1}}})
    with pytest.raises(DataError, match=says):
        training_set(labels(("a", 4)), [ViewRows("drivers", known, table, ("driver",))])


def test_a_missing_column_and_a_name_that_is_there_twice_are_told() -> None:
    known = FeatureView.model_validate({"features": {"rating": {}}})
    with pytest.raises(DataError, match="there is no column rating; the table has driver"):
        training_set(labels(("a", 4)), [ViewRows("d", known, labels(("a", 1)), ("driver",))])
    with pytest.raises(DataError, match="the columns drivers/rating twice"):
        training_set(labels(("a", 4)), [view(("a", 1, 1, 0.1)), view(("a", 1, 1, 0.1))])


@pytest.fixture(autouse=True, params=[10, -1], ids=["pairs", "asof"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Join by way of all pairs, and by ASOF JOIN: which of the two is a matter of numbers alone."""
    monkeypatch.setattr(matching, "FEW_PAIRS", request.param)


Row = tuple[str, int, int, int]


def plainly(asked: list[tuple[str, int]], rows: list[Row], ttl: int) -> list[float | None]:
    """The definition, one label at a time."""
    found: list[float | None] = []
    for driver, at in asked:
        known = [(t, c, n) for n, (d, t, c, _) in enumerate(rows) if d == driver and t <= at and c <= at]
        best = max(known, default=None)
        found.append(None if best is None or at - best[0] > ttl else float(rows[best[2]][3]))
    return found


drivers = st.sampled_from("abc")
hours = st.integers(0, 12)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(drivers, hours), min_size=1, max_size=20),
    st.lists(st.tuples(drivers, hours, hours, st.integers(0, 99)), max_size=30),
    st.integers(1, 8),
)
def test_a_join_is_what_its_definition_says(asked: list[tuple[str, int]], rows: list[Row], ttl: int) -> None:
    joined = ratings(labels(*asked), [view(*rows, ttl_s=ttl * 3600)], on_duplicates="last")
    assert joined == plainly(asked, rows, ttl)
