"""The device's own evidence: weighed by version, told to the hub in few numbers, decided without it."""

import numpy as np
import pytest

from shoal_agent.monitor import weighing
from shoal_agent.monitor.weighing import Weighing
from shoal_contract.manifest import Baseline, FeatureBaseline
from shoal_numerics import Histogram, HistogramEdges

KEY, OTHER = ("pumps", 1, "a" * 64), ("pumps", 2, "b" * 64)
FEATURES = 6


def baseline_of(rows: np.ndarray) -> Baseline:
    edges = HistogramEdges.equal_mass(rows)
    counted = Histogram.of(edges, rows)
    features = tuple(
        FeatureBaseline(name=f"f{at}", edges=edges.of_feature(at).tolist(), counts=counted.of_feature(at).tolist())
        for at in range(edges.feature_count)
    )
    confidence = FeatureBaseline(name="confidence", edges=(0.5,), counts=(0, 0))
    return Baseline(samples=len(rows), features=features, predictions=(), confidence=confidence)


RANDOM = np.random.default_rng(3)
BASELINE = baseline_of(RANDOM.standard_normal((5000, FEATURES)).astype(np.float32))
EDGES = HistogramEdges.from_lists([feature.edges for feature in BASELINE.features])


def window(moved: int = 0, by: float = 0.0, rows: int = 100) -> Histogram:
    values = RANDOM.standard_normal((rows, FEATURES)).astype(np.float32)
    values[:, :moved] += by
    return Histogram.of(EDGES, values)


def test_a_shift_is_told_with_the_features_that_moved_the_strongest_first_and_decided_on_the_device() -> None:
    weighing = Weighing()
    for _ in range(60):
        told = weighing.weigh(KEY, BASELINE, window())
    assert told is not None
    assert (told.windows, told.features, weighing.drifted(KEY)) == (60, (), [])
    for _ in range(20):
        told = weighing.weigh(KEY, BASELINE, window(2, 1.5))
    assert told is not None
    assert {one.feature for one in told.features} == {0, 1}
    assert [one.log10 for one in told.features] == sorted((one.log10 for one in told.features), reverse=True)
    assert weighing.drifted(KEY) == [0, 1]


def test_versions_are_weighed_each_by_itself_and_forgotten_when_they_are_served_no_more() -> None:
    weighing = Weighing()
    for _ in range(60):
        weighing.weigh(KEY, BASELINE, window(1, 2.0))
        weighing.weigh(OTHER, BASELINE, window())
    assert (weighing.drifted(KEY), weighing.drifted(OTHER)) == ([0], [])
    weighing.keep([OTHER])
    assert weighing.drifted(KEY) == []
    told = weighing.weigh(OTHER, BASELINE, window())
    assert told is not None
    assert told.windows == 61


def test_an_empty_window_and_a_version_of_too_many_features_are_not_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Weighing().weigh(KEY, BASELINE, Histogram.empty(EDGES)) is None
    monkeypatch.setattr(weighing, "MOST_FEATURES", FEATURES - 1)
    assert Weighing().weigh(KEY, BASELINE, window()) is None


def test_a_reference_with_missing_values_is_held_against_their_share() -> None:
    rows = RANDOM.standard_normal((1000, FEATURES)).astype(np.float32)
    rows[::4, 0] = np.nan
    watched = weighing.watched_of(baseline_of(rows), HistogramEdges.equal_mass(rows))
    missing = watched.expected[watched.is_missing]
    assert missing.tolist() == pytest.approx([0.25, *[0.0] * (FEATURES - 1)])
