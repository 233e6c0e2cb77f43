"""The interval of a share, without scipy, against scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics.proportion import wilson_interval

stats = pytest.importorskip("scipy.stats")


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.01, 0.9999))
def test_the_interval_is_scipys(trials: int, share: float, confidence: float) -> None:
    successes = round(share * trials)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, "wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 0, 0.95), (1, 5, 1)])
def test_numbers_that_are_no_shares_are_refused(successes: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(successes, trials, confidence)
