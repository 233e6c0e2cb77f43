"""The drift statistics against their definitions, and the verdict against cases with a known answer."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import (
    DriftError,
    DriftThresholds,
    Histogram,
    HistogramEdges,
    benjamini_hochberg,
    detect_drift,
    ks_distance,
    ks_resolution,
    population_stability_index,
)

stats = pytest.importorskip("scipy.stats")


def sample(kind: str, n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    makers: dict[str, Callable[[], np.ndarray]] = {
        "normal": lambda: random.standard_normal(n),
        "moved": lambda: random.standard_normal(n) * 1.3 + 0.2,
        "heavy": lambda: random.standard_cauchy(n),
        "ties": lambda: random.integers(0, 5, n),
        "constant": lambda: np.full(n, 2.0),
        "mostly zero": lambda: np.where(random.random(n) < 0.8, 0, random.random(n)),
    }
    return makers[kind]().astype(np.float32)


KINDS = st.sampled_from(["normal", "moved", "heavy", "ties", "constant", "mostly zero"])


@given(KINDS, KINDS, st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 1000))
@settings(max_examples=60)
def test_binned_distance_is_below_the_raw_one_by_no_more_than_the_resolution(
    kind: str, other: str, n: int, m: int, seed: int
) -> None:
    reference, window = sample(kind, n, seed), sample(other, m, seed + 1)
    edges = HistogramEdges.equal_mass(reference)
    first, second = Histogram.of(edges, reference), Histogram.of(edges, window)
    binned = ks_distance(first, second)[0]
    everywhere = np.concatenate([reference, window])
    first_cdf, second_cdf = (
        np.searchsorted(np.sort(values), everywhere, side="right") / len(values) for values in (reference, window)
    )
    raw = np.abs(first_cdf - second_cdf).max()
    found = detect_drift(first, second, DriftThresholds(min_samples=1)).features[0]
    assert binned <= raw + 1e-12
    assert raw - binned <= found.resolution + 1e-12
    shares = [histogram.of_feature(0) / histogram.samples[0] for histogram in (first, second)]
    assert found.resolution <= np.minimum(*shares).max() + 1e-12


@given(st.integers(0, 9999))
def test_no_smaller_resolution_follows_from_the_counts(seed: int) -> None:
    # Within each bin all values of one sample may lie below all of the other.
    random = np.random.default_rng(seed)
    edges = HistogramEdges.uniform(0, 1, 5)
    first, second = (Histogram.of(edges, random.random(20) ** random.integers(1, 4)) for _ in range(2))
    distances = []
    for low, high in ((first, second), (second, first)):
        middles = np.arange(7) / 5 - 0.1
        values = [np.repeat(middles + offset, one.of_feature(0)) for one, offset in ((low, -0.05), (high, 0.05))]
        assert (Histogram.of(edges, values[0]).counts == low.counts).all()
        distances.append(stats.ks_2samp(*values, method="asymp").statistic)
    expected = max(distances) - ks_distance(first, second)[0]
    assert ks_resolution(first, second)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, -0.0, 2.0, -7.5, 3e38])
def test_a_frequent_value_takes_nothing_from_the_resolution(constant: float) -> None:
    edges = HistogramEdges.equal_mass(np.full(500, constant))
    first, second = Histogram.of(edges, np.full(500, constant)), Histogram.of(edges, np.full(90, constant))
    assert ks_resolution(first, second).tolist() == [0.0]
    assert ks_resolution(first, Histogram.of(edges, [constant] * 30 + [constant - abs(constant) - 1] * 60)) == 0.0


def test_a_window_in_a_single_bin_is_resolved_as_well_as_the_reference() -> None:
    edges, reference = baseline(features=2)
    data = np.column_stack([np.full(500, 0.01), np.full(500, np.nan)])
    found = ks_resolution(reference, Histogram.of(edges, data))
    assert 0 < found[0] <= 0.011
    assert np.isnan(found[1])
    assert detect_drift(reference, Histogram.of(edges, data)).features[1].resolution == 0


@given(st.sampled_from(["normal", "moved", "heavy"]), st.integers(200, 3000), st.integers(1, 3000), st.integers(0, 999))
@settings(max_examples=40)
def test_psi_is_the_formula_over_the_references_deciles(kind: str, n: int, m: int, seed: int) -> None:
    reference, window = sample("normal", n, seed), sample(kind, m, seed + 1)
    edges = HistogramEdges.equal_mass(reference, 100 if n >= 500 else 10)
    found = population_stability_index(Histogram.of(edges, reference), Histogram.of(edges, window))[0]
    deciles = np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf")
    e, a = (
        np.bincount(np.searchsorted(deciles, values, side="left"), minlength=10) / len(values)
        for values in (reference, window)
    )
    e, a = np.where(e == 0, 0.0001, e), np.where(a == 0, 0.0001, a)
    # Where 100 does not divide n, ten of the percentiles are still exactly the deciles.
    assert found == pytest.approx(float(((a - e) * np.log(a / e)).sum()), abs=1e-9)


def test_psi_sees_values_that_the_reference_never_had() -> None:
    edges = HistogramEdges.equal_mass(np.full(200, 1.0))
    reference = Histogram.of(edges, np.full(200, 1.0))
    for value in (0.5, 2.0):
        assert population_stability_index(reference, Histogram.of(edges, np.full(200, value)))[0] > 10
    assert population_stability_index(reference, reference)[0] == 0


def test_psi_bin_by_bin_compares_categories() -> None:
    edges = HistogramEdges.categories(2)
    reference, window = Histogram.of(edges, np.array([0, 0, 1, 1])), Histogram.of(edges, np.array([0, 1, 1, 1]))
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert population_stability_index(reference, window, groups=None)[0] == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values), abs=1e-12)


def test_benjamini_hochberg_leaves_untested_features_out() -> None:
    adjusted = benjamini_hochberg([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])
    with pytest.raises(DriftError, match="outside 0 to 1"):
        benjamini_hochberg([1.5])


def baseline(features: int = 30, rows: int = 5000) -> tuple[HistogramEdges, Histogram]:
    data = np.random.default_rng(0).standard_normal((rows, features))
    edges = HistogramEdges.equal_mass(data)
    return edges, Histogram.of(edges, data)


def test_a_shift_on_two_features_is_raised_and_names_them_strongest_first() -> None:
    edges, reference = baseline()
    data = np.random.default_rng(1).standard_normal((500, 30))
    data[:, 7] += 0.6
    data[:, 21] += 1.5
    verdict = detect_drift(reference, Histogram.of(edges, data))
    assert verdict.is_raised
    assert verdict.leading == (21, 7)
    assert [feature.feature for feature in verdict.features if feature.is_drifted] == [7, 21]
    assert verdict.features[21].p_value < 1e-50
    assert verdict.features[21].samples == 500


def test_stable_windows_raise_at_most_one_false_alarm_in_two_hundred() -> None:
    edges, reference = baseline()
    random = np.random.default_rng(2)
    windows = [Histogram.of(edges, random.standard_normal((200, 30))) for _ in range(200)]
    assert sum(detect_drift(reference, window).is_raised for window in windows) <= 1


def test_a_large_psi_of_a_small_window_alone_is_not_raised() -> None:
    edges, reference = baseline()
    random = np.random.default_rng(2)
    verdicts = [detect_drift(reference, Histogram.of(edges, random.standard_normal((100, 30)))) for _ in range(100)]
    assert sum(feature.psi >= 0.2 for verdict in verdicts for feature in verdict.features) > 5
    assert sum(verdict.is_raised for verdict in verdicts) <= 2


def test_too_few_values_are_not_judged() -> None:
    edges, reference = baseline()
    verdict = detect_drift(reference, Histogram.of(edges, np.full((99, 30), 9.0)))
    assert not verdict.is_raised
    assert not verdict.is_tested
    assert np.isnan(verdict.features[0].ks)
    assert detect_drift(reference, Histogram.of(edges, np.full((100, 30), 9.0))).is_raised


def test_a_feature_that_goes_missing_is_drift() -> None:
    edges, reference = baseline()
    data = np.random.default_rng(1).standard_normal((500, 30))
    data[:, 4] = np.nan
    verdict = detect_drift(reference, Histogram.of(edges, data))
    assert verdict.leading == (4,)
    assert verdict.features[4].missing_ratio == 1.0
    assert np.isnan(verdict.features[4].psi)


def test_a_change_too_small_to_matter_is_not_raised_however_certain() -> None:
    edges, reference = baseline(features=1, rows=100_000)
    verdict = detect_drift(reference, Histogram.of(edges, np.random.default_rng(3).standard_normal(100_000) + 0.05))
    assert verdict.features[0].adjusted_p_value < 1e-6
    assert not verdict.is_raised


def test_a_signal_may_ask_for_several_features() -> None:
    edges, reference = baseline()
    data = np.random.default_rng(1).standard_normal((500, 30))
    data[:, 7] += 2
    verdict = detect_drift(reference, Histogram.of(edges, data), DriftThresholds(min_features=2))
    assert not verdict.is_raised
    assert verdict.leading == (7,)


def test_what_cannot_be_compared_is_refused() -> None:
    edges, reference = baseline()
    other = Histogram.empty(HistogramEdges.uniform(0, 1, 4))
    with pytest.raises(DriftError, match="Compare a window only"):
        detect_drift(reference, other)
    with pytest.raises(DriftError, match="Compare a window only"):
        ks_distance(reference, other)
    with pytest.raises(DriftError, match="reference histogram is empty"):
        detect_drift(Histogram.empty(edges), reference)
    with pytest.raises(DriftError, match="groups is 1"):
        population_stability_index(reference, reference, groups=1)


@pytest.mark.parametrize(
    "wrong", [{"psi": 0}, {"psi": float("nan")}, {"p_value": 1}, {"min_samples": 0}, {"missing_rise_ratio": 2}]
)
def test_thresholds_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DriftError, match="Setting drift thresholds"):
        DriftThresholds(**wrong)
