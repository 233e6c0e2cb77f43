"""What holds for a store of online features, wherever its values are."""

import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulators.redis_process import RedisProcess, use_library

from shoal_hub.errors import UnavailableError
from shoal_hub.online_features.redis_store import RedisStore
from shoal_hub.online_features.sqlite_store import SqliteStore
from shoal_hub.online_features.store import OnlineRow, OnlineStore
from shoal_hub.online_features.values import Held

NOW = time.time_ns()
HOUR_S = 3600.0


def row(entity: str, ago_s: float = 0.0, **values: float | str | None) -> OnlineRow:
    return OnlineRow(entity, NOW - int(ago_s * 1e9), dict(values))


def test_what_was_written_is_read_and_nothing_of_others(store: OnlineStore) -> None:
    assert store.write("rides", [row("a", fare=1.5, city="Bern"), row("b", fare=None)], HOUR_S) == 2
    assert store.write("other", [row("a", fare=9.0)], HOUR_S) == 1
    held = store.read("rides", ["b", "nobody", "a"])
    assert held == [Held(NOW, {"fare": None}), None, Held(NOW, {"fare": 1.5, "city": "Bern"})]


def test_an_older_row_changes_nothing_and_one_of_the_same_time_does(store: OnlineStore) -> None:
    store.write("rides", [row("a", 10, fare=1.0)], HOUR_S)
    assert store.write("rides", [row("a", 11, fare=2.0)], HOUR_S) == 0
    assert store.read("rides", ["a"]) == [Held(NOW - 10**10, {"fare": 1.0})]
    assert store.write("rides", [row("a", 10, fare=3.0)], HOUR_S) == 1
    assert store.read("rides", ["a"]) == [Held(NOW - 10**10, {"fare": 3.0})]


def test_of_a_batch_the_latest_row_counts_whatever_its_place(store: OnlineStore) -> None:
    store.write("rides", [row("a", 5, fare=1.0), row("a", 1, fare=2.0), row("a", 9, fare=3.0)], HOUR_S)
    assert store.read("rides", ["a"]) == [Held(NOW - 10**9, {"fare": 2.0})]


def test_values_go_when_their_time_is_over(store: OnlineStore) -> None:
    store.write("rides", [row("a", 2 * HOUR_S, fare=1.0), row("b", fare=1.0)], HOUR_S)
    assert [one is not None for one in store.read("rides", ["a", "b"])] == [False, True]


def test_forgetting_a_view_leaves_those_whose_name_begins_alike(store: OnlineStore) -> None:
    store.write("rides", [row(f"e{n}", fare=1.0) for n in range(1200)], HOUR_S)
    store.write("other", [row("a", fare=1.0)], HOUR_S)
    store.forget("rides")
    assert store.read("rides", [f"e{n}" for n in range(1200)]) == [None] * 1200
    assert store.read("other", ["a"])[0] is not None


def test_nanoseconds_decide(store: OnlineStore) -> None:
    store.write("rides", [OnlineRow("a", NOW + 1, {"fare": 1.0})], HOUR_S)
    assert store.write("rides", [OnlineRow("a", NOW, {"fare": 2.0})], HOUR_S) == 0


entities = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entities,
    st.dictionaries(
        st.sampled_from("abc"), st.floats(allow_nan=False) | st.text(max_size=9).filter(lambda one: one.isprintable())
    ),
)
def test_any_entity_and_value_comes_back_as_it_was(
    store: OnlineStore, entity: str, values: dict[str, float | str]
) -> None:
    finite = {name: one for name, one in values.items() if not isinstance(one, float) or abs(one) < float("inf")}
    store.write("rides", [OnlineRow(entity, NOW, dict(finite))], HOUR_S)
    assert store.read("rides", [entity]) == [Held(NOW, finite)]


def test_threads_write_the_same_entity_and_the_latest_stays(store: OnlineStore) -> None:
    def write(start: int) -> None:
        for n in range(start, 200, 4):
            store.write("rides", [OnlineRow("a", NOW + n, {"fare": float(n)})], HOUR_S)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert store.read("rides", ["a"]) == [Held(NOW + 199, {"fare": 199.0})]


def test_what_is_over_leaves_the_file(tmp_path: Path) -> None:
    now = [NOW]
    store = SqliteStore(tmp_path / "online.sqlite", lambda: now[0])
    store.write("rides", [row("a", fare=1.0)], HOUR_S)
    now[0] += int(2 * HOUR_S * 1e9)
    store.write("rides", [OnlineRow("b", now[0], {})], HOUR_S)
    assert store._connection().execute("SELECT entity FROM latest").fetchall() == [("b",)]
    store.close()


def test_a_redis_that_is_gone_is_told_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    use_library()
    process = RedisProcess(tmp_path).start()
    store = RedisStore(process.url)
    store.write("rides", [row("a", fare=1.0)], HOUR_S)
    process.kill()
    with pytest.raises(UnavailableError, match=f"reading online features at 127.0.0.1:{process.port}"):
        store.read("rides", ["a"])
    process.start()
    assert store.read("rides", ["a"]) == [None]
    store.close()
    process.kill()


def test_a_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "online.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UnavailableError, match="opening online features in online.sqlite"):
        SqliteStore(tmp_path / "online.sqlite")
