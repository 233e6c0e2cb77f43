"""What an operator is told is a sentence, also of a single device."""

from collections import Counter

import pytest

from shoal_hub.rollouts.request import Threshold
from shoal_hub.rollouts.tally import Standing, Tally
from shoal_hub.rollouts.thresholds import find_breach
from shoal_hub.words import counted


def test_one_is_counted_in_the_singular_and_any_other_number_in_the_plural() -> None:
    assert [counted(number, "device") for number in (0, 1, 2)] == ["0 devices", "1 device", "2 devices"]


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (1, "1 failure among 1 device that has ended: pause at 1 failure"),
        (2, "2 failures among 2 devices that have ended: pause at 1 failure"),
    ],
)
def test_a_threshold_says_how_many_have_failed_among_how_many(failed: int, said: str) -> None:
    tally = Tally(Counter({Standing(0, "failed", "runtime", is_begun=True): failed}))
    breach = find_breach(None, [Threshold(count=1, action="pause")], {}, tally)
    assert breach is not None
    assert breach.reason == said


def test_the_bound_of_all_failures_says_how_many_devices_there_are() -> None:
    breach = find_breach(0, [], {}, Tally(Counter({Standing(0, "failed", "runtime", is_begun=True): 1})))
    assert breach is not None
    assert breach.reason == "1 of 1 device failed, 0 allowed"
