"""What one device may say: a flood of one costs the others nothing, and a device that was away catches up."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.ingest import rate
from shoal_hub.ingest.rate import DeviceRates


def test_a_device_that_floods_is_cut_off_and_another_is_not() -> None:
    rates = DeviceRates(per_s=10)
    taken = sum(rates.allows("flooder", 100, 0.0) for _ in range(10_000))
    assert 90 <= taken <= 100
    assert rates.allows("quiet", 100, 0.0)


def test_a_device_that_was_cut_off_is_heard_again_a_moment_later() -> None:
    rates = DeviceRates(per_s=10)
    while rates.allows("d", 100, 0.0):
        pass
    assert not rates.allows("d", 100, 0.01)
    assert rates.allows("d", 100, 1.0)


def test_a_large_message_counts_as_several() -> None:
    few, many = DeviceRates(per_s=10), DeviceRates(per_s=10)
    large = sum(few.allows("d", 160 * 1024, 0.0) for _ in range(200))
    small = sum(many.allows("d", 0, 0.0) for _ in range(200))
    assert small == 100
    assert large == 9


def test_what_a_message_held_besides_one_is_paid_by_those_that_come_after_it() -> None:
    rates = DeviceRates(per_s=10)
    taken = 0
    while rates.allows("d", 0, 0.0):
        rates.count_more("d", 63)
        taken += 1
    assert taken == 2  # a hundred at once, and what is begun is read to its end
    assert not rates.allows("d", 0, 2.0)
    assert rates.allows("d", 0, 4.0)
    rates.count_more("never heard of", 5)
    assert rates.allows("never heard of", 0, 4.0)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.floats(0, 5)), max_size=200))
def test_never_more_than_the_burst_and_the_rate_allow(messages: list[tuple[int, float]]) -> None:
    rates, now_s, taken = DeviceRates(per_s=5), 0.0, 0
    for size_bytes, pause_s in messages:
        now_s += pause_s
        taken += rates.allows("d", size_bytes, now_s)
    assert taken <= 5 * (rate._BURST_S + now_s) + 1


def test_made_up_devices_fill_no_memory() -> None:
    rates = DeviceRates(per_s=1)
    rate_limit = rate._MAX_DEVICES
    for number in range(rate_limit + 10):
        rates.allows(f"d-{number}", 1, 0.0)
    assert len(rates._buckets) == rate_limit
