"""How much one device may say: a token bucket a device, in memory, so that one that floods delays no other.

What is beyond it is dropped before its signature is checked. The hub does not acknowledge it, so a device that only had
much to tell sends it again.
"""

from collections import OrderedDict
from typing import Final

_BURST_S: Final = 10.0
"""A device that was away may send this many seconds' worth at once."""
_BYTES_A_TOKEN: Final = 16 * 1024
"""A large message counts as several."""
_MAX_DEVICES: Final = 200_000


class DeviceRates:
    """The buckets of all devices that have spoken lately.

    Args:
        per_s: Messages a second that a device may send on average.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._full = per_s * _BURST_S
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, device_id: str, size_bytes: int, now_s: float) -> bool:
        """Take a message into account, and return whether it may be read.

        Args:
            device_id: Who the broker says has sent it.
            size_bytes: Its size.
            now_s: A monotonic clock.
        """
        left, since_s = self._buckets.pop(device_id, (self._full, now_s))
        left = min(self._full, left + (now_s - since_s) * self._per_s)
        cost = 1 + size_bytes / _BYTES_A_TOKEN
        is_allowed = cost <= left
        self._buckets[device_id] = (left - cost if is_allowed else left, now_s)
        if len(self._buckets) > _MAX_DEVICES:
            self._buckets.popitem(last=False)
        return is_allowed

    def count_more(self, device_id: str, messages: int) -> None:
        """Take into account what a message that was read has held besides one: the next ones wait for it.

        Args:
            device_id: Who has sent it.
            messages: How many more.
        """
        if messages and device_id in self._buckets:
            left, since_s = self._buckets[device_id]
            self._buckets[device_id] = (left - messages, since_s)
