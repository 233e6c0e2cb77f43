"""When the controller looks at everything again: soon after a word, and not all the time in a fleet that never rests.

An operator's word is followed at once. What devices say, and what the controller has changed itself, is gathered for a
while after each look: a look costs as much for one report as for a hundred.
"""

import math
from enum import StrEnum, unique
from typing import Final

from shoal_hub.rollouts.progress import STEPS
from shoal_hub.transfer.leases import LEASES

_QUIET_S: Final = 0.02
"""After a word, wait this long for more of them: a fleet reports all at once."""
_LONGEST_QUIET_S: Final = 0.2
"""And no longer than this in all: one device can have words said without an end."""
_REST_RATIO: Final = 30.0
"""After a look, devices' words wait for this many times the CPU that it took, so that looking takes 3 % of it."""
_LONGEST_REST_S: Final = 2.0
"""But no longer than this."""
_LEAST_REST_RATIO: Final = 4.0
"""Unless a look itself takes long."""
_UNHEARD: Final = frozenset({"events", STEPS})
"""Words for people who watch: nothing that the controller decides depends on them."""
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
    """Words that wait to be followed. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
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

    def take(self) -> frozenset[str]:
        """Return the words that wait, to follow them now."""
        what = frozenset(self._what)
        self._what.clear()
        self._since_s = self._last_s = self._urgent_since_s = math.inf
        return what

    def rest(self, took_s: float, now_s: float) -> None:
        """Note that everything was looked at, and how much CPU it took."""
        self._rests_until_s = now_s + max(_LEAST_REST_RATIO * took_s, min(_REST_RATIO * took_s, _LONGEST_REST_S))
