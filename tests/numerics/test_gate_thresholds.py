"""Hard limits: what they count, when they speak, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DeviceTotals, DifferenceLimit, Evidence, FailureLimit, GateError


def test_a_number_of_failures_aborts_at_once() -> None:
    limit = FailureLimit(max_failures=3, min_executed=10)
    assert limit.check(3, 3).verdict == "abort"
    assert limit.check(2, 9).verdict == "hold"
    assert limit.check(2, 10).verdict == "advance"
    assert limit.check(3, 3).reason == "3 of 3 failed, the limit is 3"


def test_a_share_of_failures_waits_for_the_least_number_executed() -> None:
    limit = FailureLimit(max_failure_ratio=0.2, min_executed=5)
    assert limit.check(4, 4).verdict == "hold"
    assert limit.check(1, 5).verdict == "abort"
    assert limit.check(1, 6).verdict == "advance"


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.floats(0.01, 1), st.integers(1, 20))
def test_one_more_failure_never_makes_a_wave_advance(
    failed: int, passed: int, most: int, ratio: float, least: int
) -> None:
    order = ["advance", "hold", "abort"]
    limit = FailureLimit(most, ratio, least)
    fewer, more = limit.check(failed, failed + passed + 1), limit.check(failed + 1, failed + passed + 1)
    assert order.index(more.verdict) >= order.index(fewer.verdict)


def test_failure_limits_that_cannot_be_are_refused() -> None:
    for wrong in (
        {},
        {"max_failures": 0},
        {"max_failure_ratio": 0.0},
        {"max_failure_ratio": 1.1},
        {"max_failures": 1, "min_executed": 0},
    ):
        with pytest.raises(GateError, match="Setting a failure limit"):
            FailureLimit(**wrong)
    for failed, executed in ((-1, 3), (4, 3)):
        with pytest.raises(GateError, match="0 <= failed <= executed"):
            FailureLimit(max_failures=1).check(failed, executed)


def evidence(canary_errors: float, control_errors: float, samples: float = 200.0) -> Evidence:
    before = DeviceTotals(np.zeros(2), np.zeros(2))
    after = DeviceTotals(np.array([canary_errors, control_errors], dtype=np.float64), np.full(2, float(samples)))
    return Evidence(before, after, np.array([True, False]))


def test_a_difference_beyond_the_limit_aborts_in_the_direction_of_harm() -> None:
    worse, better = evidence(30, 10), evidence(10, 30)
    for direction, verdicts in (
        ("higher", ("abort", "advance")),
        ("lower", ("advance", "abort")),
        ("either", ("abort", "abort")),
    ):
        limit = DifferenceLimit(0.05, worse=direction)
        assert (limit.check(worse).verdict, limit.check(better).verdict) == verdicts
    assert DifferenceLimit(0.05).check(worse).found == pytest.approx(0.1)
    assert DifferenceLimit(0.11).check(worse).verdict == "advance"


def test_a_difference_of_few_samples_holds() -> None:
    found = DifferenceLimit(0.05).check(evidence(30, 10, samples=99))
    assert found.verdict == "hold"
    assert math.isnan(found.found)
    assert "99 samples" in found.reason


def test_difference_limits_that_cannot_be_are_refused() -> None:
    for wrong in ({"max_difference": -0.1}, {"max_difference": math.nan}, {"max_difference": 1, "min_samples": 0}):
        with pytest.raises(GateError, match="Setting a difference limit"):
            DifferenceLimit(**wrong)
    many = DeviceTotals(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(GateError, match=r"expected \(devices,\)"):
        DifferenceLimit(0.1).check(Evidence(many, many, np.array([True, False])))
