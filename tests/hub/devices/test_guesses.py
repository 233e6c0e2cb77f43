"""Guessing tokens: bounded for an address, bounded in all, and nobody's guesses lock out a device with a right one."""

import pytest

from shoal_hub.devices.guesses import Guesses
from shoal_hub.errors import TooManyRequestsError


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_address_gets_its_guesses_back_with_time(clock: Clock) -> None:
    guesses = Guesses(2, 100, clock)
    for _ in range(2):
        guesses.check("10.0.0.1")
        guesses.note("10.0.0.1")
    with pytest.raises(TooManyRequestsError, match=r"10\.0\.0\.1"):
        guesses.check("10.0.0.1")
    guesses.check("10.0.0.2")
    clock.now_s = 30.0
    guesses.check("10.0.0.1")


def test_many_addresses_together_are_bounded_and_who_has_not_guessed_goes_on(clock: Clock) -> None:
    guesses = Guesses(10, 20, clock)
    attackers = [f"10.0.0.{number}" for number in range(20)]
    for address in attackers:
        guesses.check(address)
        guesses.note(address)
    for address in attackers:
        with pytest.raises(TooManyRequestsError, match="all addresses together"):
            guesses.check(address)
    guesses.check("192.0.2.1")
    clock.now_s = 6.0
    for address in attackers:
        guesses.check(address)


def test_one_ipv6_network_is_one_address(clock: Clock) -> None:
    guesses = Guesses(2, 100, clock)
    for number in range(2):
        guesses.note(f"2001:db8::{number}")
    with pytest.raises(TooManyRequestsError):
        guesses.check("2001:db8::ffff")
    guesses.check("2001:db8:0:1::1")


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    guesses = Guesses(1, 1e9, clock)
    for number in range(20_000):
        guesses.note(f"host-{number}")
    guesses.check("host-0")
    with pytest.raises(TooManyRequestsError):
        guesses.check("host-19999")


def test_an_address_that_is_clean_again_is_forgotten(clock: Clock) -> None:
    guesses = Guesses(1, 1, clock)
    guesses.note("10.0.0.1")
    clock.now_s = 59.0
    guesses.note("10.0.0.2")
    clock.now_s = 60.0
    guesses.check("10.0.0.1")
