"""All tests of a window's features side by side: each agrees with its definition, and says nothing where it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import DriftThresholds, Histogram, HistogramEdges, detect_drift
from shoal_numerics.chi_squared import chi_squared_test
from shoal_numerics.feature_tests import bin_middles, binned_moments, run_feature_tests
from shoal_numerics.jensen_shannon import jensen_shannon_distance

RANDOM = np.random.default_rng(3)
REFERENCE = RANDOM.normal(size=(5000, 3)).astype(np.float32)
EDGES = HistogramEdges.equal_mass(REFERENCE, 100)
BASE = Histogram.of(EDGES, REFERENCE)
ONE_FEATURE = DriftThresholds(min_features=1)


def categories(shares: list[float], seed: int, n: int = 2000) -> Histogram:
    values = np.random.default_rng(seed).choice(len(shares), n, p=shares)
    return Histogram.of(HistogramEdges.categories(len(shares)), values.astype(np.float32))


def test_a_mean_that_has_moved_is_told_in_the_features_unit_and_one_that_has_not_is_none() -> None:
    rows = np.random.default_rng(4).normal(size=(2000, 3)).astype(np.float32)
    rows[:, 1] += 0.5
    rows[:, 2] *= 1.5
    window = Histogram.of(EDGES, rows)
    found = run_feature_tests(BASE, window, detect_drift(BASE, window))
    assert found[1].mean_change == pytest.approx(0.5, abs=0.06)
    assert found[1].mean_p_value < 1e-6
    assert found[0].mean_p_value > 0.01
    assert found[2].variance_ratio == pytest.approx(1.5**2, rel=0.3)  # what lies beyond the edges is not seen
    assert found[2].variance_p_value < 1e-6
    assert found[0].variance_ratio == pytest.approx(1.0, abs=0.15)
    assert all(one.chi_squared is None for one in found)


def test_what_each_test_says_is_what_it_says_alone_in_the_order_that_is_asked_for() -> None:
    window = Histogram.of(EDGES, np.random.default_rng(5).normal(0.3, size=(700, 3)).astype(np.float32))
    verdict = detect_drift(BASE, window)
    whole = run_feature_tests(BASE, window, verdict)
    distances = jensen_shannon_distance(BASE.padded(), window.padded())
    assert [one.jensen_shannon for one in whole] == pytest.approx(distances.tolist())
    assert [one.drift for one in whole] == list(verdict.features)
    assert run_feature_tests(BASE, window, verdict, positions=[2, 0]) == [whole[2], whole[0]]


def test_a_window_with_too_few_values_is_not_tested() -> None:
    window = Histogram.of(EDGES, np.zeros((20, 3), dtype=np.float32))
    for one in run_feature_tests(BASE, window, detect_drift(BASE, window)):
        values = (one.jensen_shannon, one.mean, one.mean_change, one.mean_p_value, one.variance_ratio)
        assert np.isnan(values).all()


def test_categories_are_decided_by_chi_squared_whose_verdict_does_not_depend_on_their_order() -> None:
    shares, moved = [0.5, 0.25, 0.15, 0.1], [0.2, 0.55, 0.15, 0.1]
    for order in ([0, 1, 2, 3], [1, 3, 0, 2]):
        reference = categories([shares[at] for at in order], 1)
        window = categories([moved[at] for at in order], 2)
        verdict = detect_drift(reference, window, ONE_FEATURE, [True])
        [found] = run_feature_tests(reference, window, verdict, [True])
        assert verdict.is_raised
        assert found.chi_squared == chi_squared_test(reference.counts, window.counts)
        assert found.chi_squared.degrees == 3
        assert verdict.features[0].p_value == found.chi_squared.p_value
        assert np.isnan([found.mean, found.mean_change, found.variance_ratio]).all(), "their order means nothing"


def test_shares_that_two_categories_have_changed_are_found_that_a_distance_by_their_order_hardly_sees() -> None:
    reference = categories([0.46, 0.02, 0.02, 0.5], 3, n=20_000)
    window = categories([0.36, 0.12, 0.02, 0.5], 4, n=1000)
    assert detect_drift(reference, window, ONE_FEATURE, [True]).is_raised
    verdict = detect_drift(reference, window, ONE_FEATURE, [True])
    assert verdict.features[0].ks < 0.15


def test_the_same_shares_raise_nothing() -> None:
    raised = [
        detect_drift(categories([0.5, 0.3, 0.2], seed), categories([0.5, 0.3, 0.2], 900 + seed, 300), None, [True])
        for seed in range(40)
    ]
    assert sum(one.is_raised for one in raised) == 0


def test_numbers_beside_categories_are_decided_as_before() -> None:
    window = Histogram.of(EDGES, np.random.default_rng(6).normal(0.4, size=(700, 3)).astype(np.float32))
    plain = detect_drift(BASE, window)
    mixed = detect_drift(BASE, window, None, [False, True, False])
    for place in (0, 2):
        assert plain.features[place].ks == mixed.features[place].ks
        assert plain.features[place].psi == mixed.features[place].psi
        assert plain.features[place].p_value == mixed.features[place].p_value


def test_a_value_with_a_bin_of_its_own_stands_for_itself() -> None:
    rows = np.where(np.arange(1000) % 3 == 0, 2.0, np.linspace(0, 10, 1000)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows, 20)
    middles = bin_middles(edges)
    assert middles[edges.has_one_value].tolist() == [2.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30, unique=True))
def test_the_middle_of_a_bin_lies_in_it(values: list[float]) -> None:
    edges = HistogramEdges.from_lists([sorted(values)])
    middles = bin_middles(edges)
    assert (middles[:-1] <= edges.values.astype(np.float64)).all()
    assert (middles[1:] >= edges.values.astype(np.float64)).all()


def test_moments_of_bins_are_near_those_of_the_values() -> None:
    moments = binned_moments(BASE)
    assert moments.mean == pytest.approx(REFERENCE.mean(axis=0), abs=0.02)
    assert moments.variance == pytest.approx(REFERENCE.var(axis=0), rel=0.1)
