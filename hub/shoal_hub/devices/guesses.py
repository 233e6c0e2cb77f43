"""Who shows enrolment tokens that the hub does not know, and how often; in memory, for one process.

A secret of 256 bits can not be guessed: the bound is for whoever tries, and for the load. An address over its own
bound may show no token at all for a while. When all addresses together are over theirs, only those that have shown no
wrong token yet may go on, so that nobody's guesses lock out a device that has a right one.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoal_hub.errors import TooManyRequestsError

_MAX_ADDRESSES: Final = 10_000
_SITE_PREFIX: Final = 64
"""Whoever has one IPv6 address has a network of this length."""


@dataclass
class _Bucket:
    """What is left, and since when."""

    left: float
    since_s: float

    def refill(self, per_minute: float, now_s: float) -> None:
        self.left = min(per_minute, self.left + (now_s - self.since_s) * per_minute / 60)
        self.since_s = now_s


class Guesses:
    """Counts wrong tokens by address and in all.

    Args:
        per_minute: Wrong tokens a minute of one address, as many at once.
        in_all: The same of all addresses together.
        clock: Seconds that only go forward.
    """

    def __init__(self, per_minute: float, in_all: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._in_all = in_all
        self._clock = clock
        self._all = _Bucket(in_all, clock())
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Let an address show a token.

        Raises:
            TooManyRequestsError: It has shown too many wrong ones, or it has shown some and so have too many others.
        """
        with self._lock:
            now_s = self._clock()
            self._all.refill(self._in_all, now_s)
            bucket = self._addresses.get(_site(address))
            if bucket is None:
                return
            bucket.refill(self._per_minute, now_s)
            if bucket.left >= self._per_minute:
                del self._addresses[_site(address)]
                return
            if bucket.left < 1:
                raise _refusal(f"{address} has shown", self._per_minute, "SHOAL_WRONG_TOKENS_PER_MINUTE")
            if self._all.left < 1:
                raise _refusal(
                    "all addresses together have shown", self._in_all, "SHOAL_WRONG_TOKENS_PER_MINUTE_IN_ALL"
                )

    def note(self, address: str) -> None:
        """Take note of a wrong token."""
        with self._lock:
            now_s = self._clock()
            self._all.refill(self._in_all, now_s)
            self._all.left = max(0.0, self._all.left - 1)
            bucket = self._addresses.pop(_site(address), _Bucket(self._per_minute, now_s))
            bucket.refill(self._per_minute, now_s)
            bucket.left = max(0.0, bucket.left - 1)
            self._addresses[_site(address)] = bucket
            if len(self._addresses) > _MAX_ADDRESSES:
                self._addresses.popitem(last=False)


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _SITE_PREFIX), strict=False))
    return address


def _refusal(who: str, per_minute: float, setting: str) -> TooManyRequestsError:
    return TooManyRequestsError(
        f"{who} more than {per_minute:g} unknown enrolment tokens a minute",
        f"wait a minute and check that the token was copied whole; the bound is {setting} at the hub",
        retry_after_s=60 / per_minute,
    )
