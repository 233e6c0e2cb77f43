"""The device's own evidence: weighed by version, told to the hub in few numbers, decided without it."""

from pathlib import Path

import numpy as np
import pytest

from shoal_agent.monitor import weighing
from shoal_agent.monitor.evidence_files import EvidenceFiles
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
WATCHED = weighing.watched_of(BASELINE, EDGES)
assert WATCHED is not None


def window(moved: int = 0, by: float = 0.0, rows: int = 100) -> Histogram:
    values = RANDOM.standard_normal((rows, FEATURES)).astype(np.float32)
    values[:, :moved] += by
    return Histogram.of(EDGES, values)


def test_a_shift_is_told_with_the_features_that_moved_the_strongest_first_and_decided_on_the_device() -> None:
    mine = Weighing()
    for _ in range(60):
        told = mine.weigh(KEY, WATCHED, window())
    assert told is not None
    assert (told.windows, told.features, mine.drifted(KEY)) == (60, (), [])
    for _ in range(20):
        told = mine.weigh(KEY, WATCHED, window(2, 1.5))
    assert told is not None
    assert {one.feature for one in told.features} == {0, 1}
    assert [one.log10 for one in told.features] == sorted((one.log10 for one in told.features), reverse=True)
    assert mine.drifted(KEY) == [0, 1]


def test_versions_are_weighed_each_by_itself_and_forgotten_when_they_are_served_no_more() -> None:
    mine = Weighing()
    for _ in range(60):
        mine.weigh(KEY, WATCHED, window(1, 2.0))
        mine.weigh(OTHER, WATCHED, window())
    assert (mine.drifted(KEY), mine.drifted(OTHER)) == ([0], [])
    mine.keep([OTHER])
    assert mine.drifted(KEY) == []
    told = mine.weigh(OTHER, WATCHED, window())
    assert told is not None
    assert told.windows == 61


def test_an_empty_window_says_nothing() -> None:
    assert Weighing().weigh(KEY, WATCHED, Histogram.empty(EDGES)) is None


def test_a_baseline_of_too_many_features_or_with_counts_that_cannot_be_is_not_weighed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = BASELINE.features
    longer = first.model_copy(update={"counts": (*first.counts[:-1], first.counts[-1] + 1), "missing": 0})
    told = tuple(feature.model_copy(update={"missing": 0}) for feature in others)
    assert weighing.watched_of(BASELINE.model_copy(update={"features": (longer, *told)}), EDGES) is None
    assert weighing.watched_of(BASELINE, EDGES) is not None
    monkeypatch.setattr(weighing, "MOST_FEATURES", FEATURES - 1)
    assert weighing.watched_of(BASELINE, EDGES) is None


def test_a_reference_with_missing_values_is_held_against_their_share() -> None:
    rows = RANDOM.standard_normal((1000, FEATURES)).astype(np.float32)
    rows[::4, 0] = np.nan
    watched = weighing.watched_of(baseline_of(rows), HistogramEdges.equal_mass(rows))
    assert watched is not None
    missing = watched.expected[watched.is_missing]
    assert missing.tolist() == pytest.approx([0.25, *[0.0] * (FEATURES - 1)])


def test_a_version_that_is_begun_anew_does_not_go_on_with_its_file(tmp_path: Path) -> None:
    mine = Weighing(EvidenceFiles(tmp_path))
    for _ in range(60):
        mine.weigh(KEY, WATCHED, window(moved=2, by=3.0))
    assert (mine.save(is_last=True), mine.drifted(KEY)) == (1, [0, 1])
    mine.keep([])
    mine.forget(KEY[0], KEY[1])
    mine.weigh(KEY, WATCHED, window())
    assert mine.drifted(KEY) == []
    assert mine.save() == 1, "what it said before is written over"
