"""The token bucket's law: in no stretch of time more than the rate allows, and whoever waits as told may pass."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.token_bucket import TokenBucket

_RATES = st.floats(1, 1e7)
_ASKED = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), min_size=1, max_size=40)


def _passed(rate: float, burst: float, asked: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Let amounts pass one after the other, each after a pause of the asker's and its wait; return (when, amount)."""
    now_s = 0.0
    bucket, passed = TokenBucket(rate, burst, now_s), []
    for pause_s, amount in asked:
        now_s += pause_s
        now_s += bucket.wait_s(amount, now_s)
        bucket.take(amount, now_s)
        passed.append((now_s, amount))
    return passed


@given(rate=_RATES, burst=st.floats(1, 1e6), asked=_ASKED)
def test_in_no_stretch_of_time_more_passes_than_rate_and_burst_allow(
    rate: float, burst: float, asked: list[tuple[float, float]]
) -> None:
    passed = _passed(rate, burst, asked)
    for first, (start_s, _) in enumerate(passed):
        total = 0.0
        for end_s, amount in passed[first:]:
            total += amount
            largest = max(one for _, one in passed[first:])
            assert total <= (burst + largest + rate * (end_s - start_s)) * (1 + 1e-6)


@given(rate=_RATES, burst=st.floats(1, 1e6), amount=st.floats(0, 1e6), later_s=st.floats(0, 1000))
def test_whoever_waits_as_long_as_told_may_pass_and_longer_pauses_save_up_no_more_than_a_burst(
    rate: float, burst: float, amount: float, later_s: float
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.take(1e6, 0.0)
    wait_s = bucket.wait_s(amount, later_s)
    assert bucket.wait_s(amount, later_s + wait_s) <= 1e-6 * (1 + wait_s)
    full = TokenBucket(rate, burst, 0.0)
    full.take(burst, 1e9)
    assert full.wait_s(burst, 1e9) * rate >= burst * 0.99


@given(rate=_RATES, back_s=st.floats(0, 1e6))
def test_a_clock_that_is_read_out_of_order_fills_nothing_twice(rate: float, back_s: float) -> None:
    bucket = TokenBucket(rate, 1.0, 1e6)
    bucket.take(1.0, 1e6)
    before_s = bucket.wait_s(1.0, 1e6)
    bucket.take(0.0, 1e6 - back_s)
    assert bucket.wait_s(1.0, 1e6) == before_s
