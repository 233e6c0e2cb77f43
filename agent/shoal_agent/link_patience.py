"""For how long a retained message is waited for: as long as it may still be on its way."""

import time
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 12
"""How many times the time after which a topic counts as silent other messages may come instead."""
_LOOKS: Final = 10
"""How often, in that time, it is looked whether the broker has answered."""


class Patience:
    """What one connection has shown so far. All methods are called in the event loop.

    One connection brings everything in turn: what the broker answers to something sent later comes after it. That
    nothing comes at all proves nothing, since a link that loses packets may be quiet for longer than that: then the
    broker is asked for an answer.

    Args:
        probe: Sends what the broker answers and nothing else follows from, given the topic that is waited for; returns
            the packet identifier.
        quiet_s: For how long the connection has received nothing.
    """

    def __init__(self, probe: Callable[[str], int | None], quiet_s: Callable[[], float]) -> None:
        self._probe = probe
        self._quiet_s = quiet_s
        self._up_s = 0.0
        self._answered_s = 0.0
        self._probe_mid: int | None = None
        self._probed_s = 0.0
        self.is_probing = False
        """Whether an answer to a probe is awaited; may be read in any thread."""

    def begin(self) -> None:
        """There is a new connection; what was asked on the one before is not answered any more."""
        self._up_s = time.monotonic()
        self.is_probing = False

    def note_answer(self, asked_s: float) -> None:
        """The broker has answered what was sent then."""
        self._answered_s = max(self._answered_s, asked_s)

    def hear_of(self, mid: int) -> None:
        """The broker has answered a packet, which may have been a probe."""
        if self.is_probing and mid == self._probe_mid:
            self.is_probing = False
            self.note_answer(self._probed_s)

    def left_s(self, topic: str, started_s: float, timeout_s: float) -> float:
        """Return for how long a message is still waited for before this is asked again; at most 0: it does not come.

        Args:
            topic: Its topic.
            started_s: When it was asked for, by the monotonic clock.
            timeout_s: After how long the topic counts as silent where the broker answers what was sent later.
        """
        now_s = time.monotonic()
        if self._answered_s >= max(started_s, self._up_s) + timeout_s:
            return 0.0
        most_s = _PATIENCE * timeout_s - (now_s - started_s)
        quiet_s = self._quiet_s()
        if quiet_s < timeout_s:
            return min(most_s, timeout_s - quiet_s)
        if not self.is_probing:
            self.is_probing, self._probed_s = True, now_s
            self._probe_mid = self._probe(topic)
        return min(most_s, timeout_s / _LOOKS)
