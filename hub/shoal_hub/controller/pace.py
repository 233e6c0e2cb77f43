"""When the controller looks at everything again: soon after a word, and not all the time in a fleet that never rests.

An operator's word is followed at once. What devices say, and what the controller has changed itself, is gathered for a
while after each look: a look costs as much for one report as for a hundred. While many devices are at it and nobody
waits for one of them, it is gathered for longer: a look goes through all that are at it, and each of them reports
several times on its way.
"""

import math
from enum import StrEnum, unique
from typing import Final, NamedTuple

from shoal_hub.rollouts.progress import STEPS
from shoal_hub.transfer.leases import LEASES

_QUIET_S: Final = 0.02
"""After a word, wait this long for more of them: a fleet reports all at once."""
_LONGEST_QUIET_S: Final = 0.2
"""And no longer than this in all: one device can have words said without an end."""
_REST_RATIO: Final = 30.0
"""After a look, devices' words wait for this many times the CPU that it took, so that looking takes 3 % of it."""
_REST_A_DEVICE_S: Final = 0.005
"""And for this much for each device that is at it: so a look finds a good part of them further, however many."""
_LEAST_REST_RATIO: Final = 4.0
"""Unless a look itself takes long."""
_SWEEP_REST_RATIO: Final = 2000.0
"""After a sweep the next one waits for this many times the CPU that it took, so that sweeping takes 0.05 % of it."""
_UNHEARD: Final = frozenset({"events", "captures", "batches", "features", "compositions", STEPS})
"""Words for people who watch: nothing that the controller decides depends on them.

What operators want of devices by samples, jobs, features and compositions is said by "intents" besides.
"""
LEASING_NOTHING: Final = frozenset({"devices", "intents", "rollouts"})
"""Words for which no other artifact has to stand at the broker: whoever leases one says so besides."""


@unique
class Speaker(StrEnum):
    """Who has said a word."""

    OPERATOR = "operator"
    """The API, for somebody; or another process of the hub."""
    DEVICES = "devices"
    """Ingest, of what devices have sent."""
    CONTROLLER = "controller"
    """The controller itself."""


_CALM: Final[dict[Speaker, frozenset[str]]] = {
    Speaker.OPERATOR: frozenset(),
    Speaker.DEVICES: frozenset({"devices", "drift", "trials"}),
    Speaker.CONTROLLER: frozenset({"devices", "intents", LEASES, "rollouts"}),
}
"""Words that can wait. Those of the controller follow from a look: what they stand for was done in it, but its end."""


class Pace:
    """Words that wait to be followed. Times are seconds of a monotonic clock.

    Args:
        longest_rest_s: How long devices' words wait at most after a look, unless the look itself took long.
    """

    def __init__(self, longest_rest_s: float) -> None:
        self._longest_rest_s = longest_rest_s
        self._what: set[str] = set()
        self._since_s = self._last_s = self._urgent_since_s = math.inf
        self._rests_until_s = -math.inf

    def hear(self, what: frozenset[str], now_s: float, said_by: Speaker) -> None:
        """Take note of words.

        Args:
            what: The words.
            now_s: The clock.
            said_by: Who has said them.
        """
        heard = what - _UNHEARD
        if not heard:
            return
        self._what |= heard
        self._since_s, self._last_s = min(self._since_s, now_s), now_s
        if heard - _CALM[said_by]:
            self._urgent_since_s = min(self._urgent_since_s, now_s)

    @property
    def due_s(self) -> float:
        """When to look; never, where no word waits."""
        quiet_s = self._last_s + _QUIET_S
        gathered_s = max(min(quiet_s, self._since_s + _LONGEST_QUIET_S), self._rests_until_s)
        at_once_s = min(quiet_s, self._urgent_since_s + _LONGEST_QUIET_S)
        return min(gathered_s, at_once_s) if self._urgent_since_s < math.inf else gathered_s

    def is_resting(self, now_s: float) -> bool:
        """Whether it was looked at everything a short while ago, for its cost."""
        return now_s < self._rests_until_s

    def take(self) -> frozenset[str]:
        """Return the words that wait, to follow them now."""
        what = frozenset(self._what)
        self._what.clear()
        self._since_s = self._last_s = self._urgent_since_s = math.inf
        return what

    def rest(self, took_s: float, now_s: float, at_it: int = 0) -> None:
        """Note that everything was looked at.

        Args:
            took_s: How much CPU it took.
            now_s: The clock.
            at_it: How many devices are at it, and nobody waits for one of them.
        """
        wanted_s = max(_REST_RATIO * took_s, _REST_A_DEVICE_S * at_it)
        self._rests_until_s = now_s + max(_LEAST_REST_RATIO * took_s, min(wanted_s, self._longest_rest_s))


class SweepPace:
    """When the controller goes through all devices again, for what no word tells: time that has passed, a lost word.

    A sweep of a small fleet comes every few ticks; one of a large fleet costs more the larger it is, and comes seldom.
    Times are seconds of a monotonic clock.

    Args:
        longest_rest_s: How long it waits after a sweep at most.
    """

    def __init__(self, longest_rest_s: float) -> None:
        self._longest_rest_s = longest_rest_s
        self._rests_until_s = -math.inf

    def is_due(self, now_s: float) -> bool:
        """Whether it is time."""
        return now_s >= self._rests_until_s

    def rest(self, took_s: float, now_s: float) -> None:
        """Note that all devices were gone through, and how much CPU it took."""
        self._rests_until_s = now_s + min(_SWEEP_REST_RATIO * took_s, self._longest_rest_s)


class Turn(NamedTuple):
    """What one turn of the loop follows.

    Attributes:
        what: Words.
        is_tick: Whether it is time for what goes by the clock.
        is_sweep: Whether it is time to go through all devices.
        is_check: Whether it is looked for what a word tells of as well: now and then, and while none can come, be it
            that the broker is away or that jobs are at work, whose processes say none.
        passes: Whether rollouts are taken further.
    """

    what: frozenset[str]
    is_tick: bool
    is_sweep: bool
    is_check: bool
    passes: bool

    @property
    def kind(self) -> str:
        """What it is called where turns are counted."""
        return "sweep" if self.is_sweep else "tick" if self.is_tick else "word"
