"""The split of a trial: even, sticky, nested and independent between trials."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.split import falls_within

KEYS = [f"customer-{number}" for number in range(4000)]


@given(share=st.floats(0, 1), more=st.floats(0, 1), key=st.text())
def test_who_falls_within_a_share_falls_within_every_larger_one(share: float, more: float, key: str) -> None:
    low, high = sorted((share, more))
    assert falls_within(high, "00ff", key) or not falls_within(low, "00ff", key)


@given(key=st.text())
def test_nobody_falls_within_nothing_and_everybody_within_all(key: str) -> None:
    assert not falls_within(0.0, "00ff", key)
    assert falls_within(1.0, "00ff", key)


def test_a_share_is_kept_and_two_trials_split_independently() -> None:
    first = {key for key in KEYS if falls_within(0.3, "00ff", key)}
    second = {key for key in KEYS if falls_within(0.3, "ff00", key)}
    assert 0.27 < len(first) / len(KEYS) < 0.33
    assert 0.25 < len(first & second) / len(first) < 0.35


def test_the_split_is_the_golden_one() -> None:
    assert [falls_within(0.5, "0123456789abcdef", f"k{n}") for n in range(8)] == [
        True,
        False,
        True,
        False,
        True,
        True,
        False,
        True,
    ]
