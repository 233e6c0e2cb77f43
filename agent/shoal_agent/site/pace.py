"""Lets so much through a second: whoever comes sooner waits for their turn."""

import anyio


class Pace:
    """Turns in the order in which they were asked for.

    Args:
        per_s: How much passes in a second.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at_s = 0.0

    async def take(self, amount: float = 1) -> None:
        """Wait until what came before has had its time."""
        start_s = max(anyio.current_time(), self._free_at_s)
        self._free_at_s = start_s + amount / self._per_s
        await anyio.sleep_until(start_s)
