"""Faults come from the seed alone: the same fleet has the same ones, as often as their rates say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.simulated.faults import DeviceFaults, FaultRates, FaultTimes, parse_rates

ALL = FaultRates(offline=0.3, slow_link=0.3, power_cut=0.3, bad_disk=0.3, failing_model=0.3)
FLEET = 1000


def drawn(seed: int, index: int, rates: FaultRates = ALL) -> tuple[object, ...]:
    faults = DeviceFaults(seed, index, rates, FaultTimes())
    return (
        faults.loses_line,
        faults.bytes_per_s,
        [faults.power_cut_at(wish) for wish in range(5)],
        [faults.fails_model(f"{number:064x}") for number in range(5)],
        [faults.fails_write() for _ in range(20)],
        faults.next_outage(),
    )


@given(st.integers(0, 2**63), st.integers(0, 100_000))
def test_the_same_seed_and_number_draw_the_same(seed: int, index: int) -> None:
    assert drawn(seed, index) == drawn(seed, index)


def test_other_seeds_and_other_devices_draw_otherwise() -> None:
    assert len({str(drawn(seed, index)) for seed in range(5) for index in range(20)}) == 100


def test_a_fault_is_as_frequent_as_its_rate_says() -> None:
    fleet = [DeviceFaults(1, index, ALL, FaultTimes()) for index in range(FLEET)]
    shares = {
        "offline": sum(one.loses_line for one in fleet) / FLEET,
        "slow_link": sum(one.bytes_per_s is not None for one in fleet) / FLEET,
        "power_cut": sum(one.power_cut_at(0) is not None for one in fleet) / FLEET,
        "failing_model": sum(one.fails_model("a" * 64) for one in fleet) / FLEET,
    }
    assert all(0.26 < share < 0.34 for share in shares.values()), shares
    writes = [[one.fails_write() for _ in range(40)] for one in fleet]
    with_bad_disk = [failed for failed in writes if any(failed)]
    assert 0.21 < len(with_bad_disk) / FLEET < 0.29
    assert 0.26 < sum(map(sum, with_bad_disk)) / (40 * len(with_bad_disk)) < 0.34


def test_without_rates_nothing_ever_fails() -> None:
    assert drawn(1, 1, FaultRates())[:5] == (False, None, [None] * 5, [False] * 5, [False] * 20)


def test_kinds_and_probabilities_that_are_none_are_refused() -> None:
    assert parse_rates({"offline": 0.5}) == FaultRates(offline=0.5)
    with pytest.raises(ValueError, match="fault rate offline: 1.5 found, from 0 to 1"):
        parse_rates({"offline": 1.5})
    with pytest.raises(ValueError, match="fire: unknown; there are bad_disk, failing_model"):
        parse_rates({"fire": 0.1})
