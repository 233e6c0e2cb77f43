"""Which neighbour takes a request: the one with the least outstanding that is less loaded than this device. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shoal_agent.serving.passing import Call
from shoal_contract.desired import HandoverPeer

_LACKING: Final = 256
"""Versions that are remembered as not there; beyond it they are asked for again."""


class Wanted(NamedTuple):
    """The version that has to answer."""

    model: str
    version: int
    manifest_sha256: str
    call: Call = "infer"
    """By which: a neighbour with an earlier agent takes `infer` alone."""


@dataclass
class PeerState:
    """What is known of a neighbour, by the seconds of a clock that never goes back.

    Attributes:
        peer: Who and where it is.
        outstanding: Requests that it has from here.
        told: What it said last that it has in all, while it answered.
    """

    peer: HandoverPeer
    outstanding: int = 0
    told: int = 0
    _told_at_s: float = field(default=float("-inf"), init=False)
    _used_at_s: float = field(default=float("-inf"), init=False)
    _rests_until_s: float = field(default=float("-inf"), init=False)
    _lacks_until_s: dict[Wanted, float] = field(default_factory=dict, init=False)

    def load(self, now_s: float, fresh_s: float) -> int:
        """Return what it has to do, by our own books and by what it has said of late."""
        return max(self.outstanding, self.told if now_s - self._told_at_s < fresh_s else 0)

    def may_take(self, wanted: Wanted, now_s: float, most_outstanding: int) -> bool:
        """Whether it is worth asking."""
        is_there = now_s >= self._lacks_until_s.get(wanted, float("-inf"))
        return is_there and now_s >= self._rests_until_s and self.outstanding < most_outstanding

    def used(self, now_s: float) -> None:
        """Note that it gets a request."""
        self._used_at_s = now_s

    def tell(self, load: int, now_s: float) -> None:
        """Note what it says of itself."""
        self.told, self._told_at_s = load, now_s

    def rest(self, until_s: float) -> None:
        """Let it be."""
        self._rests_until_s = until_s

    def lacks(self, wanted: Wanted, until_s: float) -> None:
        """Note that it does not serve this."""
        if len(self._lacks_until_s) >= _LACKING:
            self._lacks_until_s.clear()
        self._lacks_until_s[wanted] = until_s

    @property
    def used_at_s(self) -> float:
        """When it got its last request."""
        return self._used_at_s


def choose(
    peers: Iterable[PeerState], wanted: Wanted, own_load: int, now_s: float, *, fresh_s: float, most_outstanding: int
) -> PeerState | None:
    """Return the least loaded neighbour, of equals the one that was used longest ago; None: nobody is better off.

    Args:
        peers: The neighbours.
        wanted: What has to be served there.
        own_load: Requests that run or wait here.
        now_s: The clock.
        fresh_s: How long what a neighbour says of itself counts.
        most_outstanding: What one neighbour gets from here at a time.
    """
    able = [one for one in peers if one.may_take(wanted, now_s, most_outstanding)]
    best = min(able, key=lambda one: (one.load(now_s, fresh_s), one.used_at_s), default=None)
    return best if best is not None and best.load(now_s, fresh_s) < own_load else None
