"""Totals of devices, and how they come out of the histograms that windows carry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_numerics import (
    DeviceTotals,
    Evidence,
    GateError,
    histogram_mean,
    histogram_quantile,
    histogram_share_over,
)

COUNTS = arrays(np.int64, (3, len(LATENCY_EDGES_MS) + 1), elements=st.integers(0, 1000))


def binned(values: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(LATENCY_EDGES_MS, values), minlength=len(LATENCY_EDGES_MS) + 1)


def test_the_share_over_an_edge_is_exact() -> None:
    values = np.random.default_rng(1).lognormal(2, 1, (4, 500))
    found = histogram_share_over(np.stack([binned(row) for row in values]), LATENCY_EDGES_MS, 16.0)
    assert found.values == pytest.approx((values > 16.0).mean(axis=1))
    assert found.weight.tolist() == [500.0] * 4


def test_a_bound_between_edges_is_refused() -> None:
    with pytest.raises(GateError, match="Counting values over 100: it is no edge"):
        histogram_share_over(np.zeros((1, 14), dtype=np.int64), LATENCY_EDGES_MS, 100)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_a_quantile_is_within_its_bin(q: float) -> None:
    values = np.random.default_rng(2).lognormal(2, 1, (20, 999))
    found = histogram_quantile(np.stack([binned(row) for row in values]), LATENCY_EDGES_MS, q)
    exact = np.quantile(values, q, axis=1, method="inverted_cdf")
    # Edges double: within a bin, two values differ by at most a factor of two. Interpolated they are nearer.
    assert (np.abs(np.log2(found.values / exact)) < 1).all()
    assert np.abs(np.log2(found.values / exact)).mean() < 0.15


@given(COUNTS, st.floats(0.01, 0.99))
def test_a_quantile_lies_between_the_outer_edges_and_grows_with_q(counts: np.ndarray, q: float) -> None:
    found = histogram_quantile(counts, LATENCY_EDGES_MS, q)
    has_values = found.weight > 0
    assert (found.values[has_values] >= LATENCY_EDGES_MS[0] * (1 - 1e-12)).all()
    assert (found.values <= LATENCY_EDGES_MS[-1] * (1 + 1e-12)).all()
    assert (histogram_quantile(counts, LATENCY_EDGES_MS, q / 2).values <= found.values * (1 + 1e-12)).all()
    assert (found.numerator[~has_values] == 0).all()


def test_beyond_the_last_edge_a_quantile_is_that_edge() -> None:
    counts = np.zeros((1, 14), dtype=np.int64)
    counts[0, -1] = 10
    assert histogram_quantile(counts, LATENCY_EDGES_MS, 0.95).values == pytest.approx([1024.0])


def test_a_mean_takes_values_as_their_bins_middles() -> None:
    counts = np.array([[1, 3], [0, 0]])
    found = histogram_mean(counts, (0.25, 0.75))
    assert found.values.tolist() == [0.625, 0.0]
    assert found.weight.tolist() == [4.0, 0.0]


def test_histograms_that_do_not_fit_are_refused() -> None:
    wrong = np.zeros((2, 3), dtype=np.int64)
    with pytest.raises(GateError, match=r"counts are \(2, 3\), expected \(devices, 14\)"):
        histogram_quantile(wrong, LATENCY_EDGES_MS, 0.5)
    with pytest.raises(GateError, match=r"expected \(devices, 2\)"):
        histogram_mean(wrong, (0.0, 1.0))
    with pytest.raises(GateError, match="a count is -1"):
        histogram_share_over(wrong - 1, (1.0, 2.0), 1.0)
    for q in (0.0, 1.0, float("nan")):
        with pytest.raises(GateError, match="expected 0 < q < 1"):
            histogram_quantile(wrong, (1.0, 2.0), q)


def test_totals_that_cannot_be_are_refused() -> None:
    two, three = np.ones(2), np.ones(3)
    with pytest.raises(GateError, match="same shape"):
        DeviceTotals(two, three)
    with pytest.raises(GateError, match="expected float64"):
        DeviceTotals(two.astype(np.int64), two)
    for wrong in (np.nan, np.inf):
        with pytest.raises(GateError, match="not finite"):
            DeviceTotals(np.array([1.0, wrong]), two)
    with pytest.raises(GateError, match="a weight is -1.0"):
        DeviceTotals(two, -two)
    totals = DeviceTotals(two, two)
    with pytest.raises(GateError, match="of the same devices"):
        Evidence(totals, DeviceTotals(three, three), np.array([True, False]))
    with pytest.raises(GateError, match="is_canary is int64"):
        Evidence(totals, totals, np.array([1, 0]))
