"""The online store gives the latest values with their age, and goes on after restarts, damage and full bounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from shoal_agent.errors import DiskError
from shoal_agent.features.store import FeatureStore, SavedPipeline
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import CountWindow, Feature, FeatureDefinition
from shoal_numerics.features import WindowRows

S = 1_000_000_000
START_NS = 1_700_000_000 * S
DEFINITION = FeatureDefinition(
    window=CountWindow(size=1, every=1),
    features={
        "mean": Feature(aggregate="mean", field="x", ttl_s=10, fallback=0.5),
        "last": Feature(aggregate="last", field="x", ttl_s=100),
    },
)


def rows(entities: list[str], at_s: float, last: float = 1.0, mean: float = 2.0) -> WindowRows:
    """Windows that end `at_s` after the start; columns in order of the names."""
    count = len(entities)
    end_ns = np.full(count, START_NS + int(at_s * S))
    return WindowRows(entities, end_ns - S, end_ns, np.ones(count, dtype=np.int64), np.array([[last, mean]] * count))


@dataclass
class Opened:
    """A store and its clock."""

    path: Path
    now_s: float = 0.0
    settings: FeatureSettings = field(default_factory=FeatureSettings)

    def __post_init__(self) -> None:
        self.store = FeatureStore(self.path, self.settings, lambda: START_NS + int(self.now_s * S))

    def again(self) -> None:
        self.store.close()
        self.__post_init__()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "features.sqlite")
    made.store.define("d", DEFINITION)
    yield made
    made.store.close()


def test_a_value_is_fresh_for_its_time_to_live_and_then_gives_way_to_its_fallback(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 0))
    seen = []
    for now_s in (0.0, 10.0, 11.0, 101.0):
        opened.now_s = now_s
        found = opened.store.read("a")
        mean, last = found["d/mean"], found["d/last"]
        seen.append((mean.value, mean.is_fresh, mean.is_fallback, last.value, last.is_fresh, last.age_s))
    assert seen == [
        (2.0, True, False, 1.0, True, 0.0),
        (2.0, True, False, 1.0, True, 10.0),
        (0.5, False, True, 1.0, True, 11.0),
        (0.5, False, True, None, False, 101.0),
    ]


def test_an_unknown_entity_has_fallbacks_alone(opened: Opened) -> None:
    found = opened.store.read("nobody")
    assert (found["d/mean"].value, found["d/mean"].is_fallback, found["d/mean"].age_s) == (0.5, True, None)
    assert (found["d/last"].value, found["d/last"].is_fallback) == (None, False)
    assert not opened.store.knows("nobody")


def test_a_window_without_a_value_is_no_value(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 0, mean=math.nan))
    assert opened.store.read("a")["d/mean"].value == 0.5


def test_of_several_windows_the_latest_counts_and_an_older_one_changes_nothing(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 2, last=2.0))
    opened.store.put("d", rows(["a"], 1, last=1.0))
    assert opened.store.read("a")["d/last"].value == 2.0


def test_values_and_saved_windows_outlast_a_restart(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 0))
    opened.store.save("p", SavedPipeline({"d": b"state"}, "1:2:3"))
    opened.again()
    assert opened.store.read("a")["d/last"].value == 1.0
    assert opened.store.saved("p") == SavedPipeline({"d": b"state"}, "1:2:3")
    opened.store.forget_pipeline("p")
    assert opened.store.saved("p") == SavedPipeline({})


def test_a_definition_that_changes_its_features_forgets_values_and_one_that_changes_a_fallback_does_not(
    opened: Opened,
) -> None:
    opened.store.put("d", rows(["a"], 0))
    mean = DEFINITION.features["mean"].model_copy(update={"fallback": 7.0})
    opened.store.define("d", DEFINITION.model_copy(update={"features": {**DEFINITION.features, "mean": mean}}))
    assert opened.store.read("a")["d/mean"].value == 2.0
    opened.store.define("d", DEFINITION.model_copy(update={"features": {"mean": mean}}))
    assert opened.store.read("a")["d/mean"].value == 7.0
    assert not opened.store.knows("a")
    opened.store.drop("d")
    assert opened.store.read("a") == {}


def test_the_stalest_entities_give_way(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "features.sqlite", settings=FeatureSettings(max_entities=3))
    opened.store.define("d", DEFINITION)
    for at_s, entity in enumerate("abcad"):
        opened.store.put("d", rows([entity], at_s))
    assert [entity for entity in "abcd" if opened.store.knows(entity)] == ["a", "c", "d"]
    assert opened.store.evicted == 1
    opened.store.close()


def test_the_file_stays_within_its_bytes(tmp_path: Path) -> None:
    settings = FeatureSettings(max_entities=1_000_000, max_store_bytes=400_000)
    opened = Opened(tmp_path / "features.sqlite", settings=settings)
    opened.store.define("d", DEFINITION)
    for at_s in range(200):
        opened.store.put("d", rows([f"entity {at_s}-{n}" for n in range(50)], at_s))
    assert opened.store.evicted > 0
    assert opened.store.knows("entity 199-0")
    assert not opened.store.knows("entity 0-0")
    opened.store.close()
    assert opened.path.stat().st_size < 2 * settings.max_store_bytes


def test_a_damaged_file_is_put_aside(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 0))
    opened.store.close()
    opened.path.write_bytes(b"damaged" * 1000)
    opened.__post_init__()
    assert opened.store.read("a") == {}
    assert opened.path.with_name("features.sqlite.damaged").exists()


def test_a_write_that_fails_leaves_what_was_there_and_the_store_usable(opened: Opened) -> None:
    opened.store.put("d", rows(["a"], 0))
    opened.store._database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON latest BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    with pytest.raises(DiskError, match="keeping features"):
        opened.store.put("d", rows(["b"], 1))
    assert not opened.store.knows("b")
    opened.store._database.execute("DROP TRIGGER refuse")
    opened.store.put("d", rows(["b"], 1))
    assert opened.store.read("b")["d/last"].value == 1.0
