"""What a transfer may take of the uplink: so much a second by a token bucket, and so much a month by the byte ledger.

A chunk on its way can not be slowed down, so the pace is kept between chunks, and few are asked for at a time. What the
month's budget does not allow waits for the next month with a problem that says so; what is urgent passes both, and the
others wait the longer. A rollback to a version on disk fetches nothing, so it costs nothing.
"""

from typing import Final, Protocol

import anyio
from anyio import to_thread

from shoal_agent.errors import BudgetError
from shoal_agent.token_bucket import TokenBucket
from shoal_contract.desired import DesiredConfig
from shoal_contract.ledger import next_month
from shoal_contract.limits import CHUNK_SIZES_BYTES

_BURST_BYTES: Final = CHUNK_SIZES_BYTES[0]
_EXTRA: Final = 0.06
"""Of a file, what MQTT, TLS, TCP and IP add to it at most, in chunks of the default size."""


class Spending(Protocol):
    """Who knows what is spent; the byte ledger, in production."""

    @property
    def month(self) -> str:
        """The present month, `YYYY-MM` in UTC."""

    def spent_bytes(self) -> int:
        """Return what of the present month's budget is spent."""

    def reserve(self, ahead_bytes: int) -> None:
        """Have so much more count as spent if the power is cut now.

        Raises:
            DiskError: The disk does not take it.
        """


class FetchLimits:
    """The limits of all transfers of this device together.

    Args:
        spending: What is spent of the month's budget.
    """

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._bytes_per_s: int | None = None
        self._bytes_per_month: int | None = None
        self._bucket: TokenBucket | None = None
        self._turn = anyio.Lock()
        self._changed = anyio.Event()

    def configure(self, config: DesiredConfig) -> bool:
        """Go by this configuration from now on, also for what waits for its turn; return whether the budget is new."""
        is_new = config.max_bytes_per_month != self._bytes_per_month
        self._bytes_per_month = config.max_bytes_per_month
        if config.max_fetch_bytes_per_s != self._bytes_per_s:
            self._set_cap(config.max_fetch_bytes_per_s)
        return is_new

    def _set_cap(self, rate: int | None) -> None:
        self._bytes_per_s = rate
        self._bucket = None if rate is None else TokenBucket(rate, max(_BURST_BYTES, rate), anyio.current_time())
        self._changed.set()
        self._changed = anyio.Event()

    def window(self, chunk_bytes: int, most: int, slow_chunk_s: float) -> int:
        """Return how many chunks to ask for at a time: as many as the cap lets come within `slow_chunk_s`."""
        if self._bytes_per_s is None:
            return most
        return max(1, min(most, int(self._bytes_per_s * slow_chunk_s / chunk_bytes)))

    async def admit(self, chunk_bytes: int, left_bytes: int, *, doing: str, is_urgent: bool) -> None:
        """Wait until a chunk may be asked for.

        Args:
            chunk_bytes: Its size.
            left_bytes: What is left to fetch of the file, with this chunk: a file is not begun that can not be ended.
            doing: What is being done, for the error.
            is_urgent: Whether it may come although the month's budget is spent, and at once: it waits for no other
                chunk, nor for the cap, and the others pay for it.

        Raises:
            BudgetError: The month's budget does not allow it.
            DiskError: What is about to be spent can not be noted.
        """
        if is_urgent:
            await self._pass_all(chunk_bytes)
            return
        async with self._turn:
            await self._wait_for_turn(chunk_bytes)
            budget = self._bytes_per_month
            if budget is None:
                return
            self._check(budget, left_bytes, doing)
            await to_thread.run_sync(self._spending.reserve, chunk_bytes)

    async def _pass_all(self, chunk_bytes: int) -> None:
        """Let a chunk pass at once; the others wait until what it has taken has come in again."""
        if self._bucket is not None:
            self._bucket.take(chunk_bytes, anyio.current_time())
        if self._bytes_per_month is not None:
            await to_thread.run_sync(self._spending.reserve, chunk_bytes)

    async def _wait_for_turn(self, chunk_bytes: int) -> None:
        while (bucket := self._bucket) is not None:
            wait_s = bucket.wait_s(chunk_bytes, anyio.current_time())
            if not wait_s:
                bucket.take(chunk_bytes, anyio.current_time())
                return
            with anyio.move_on_after(wait_s):
                await self._changed.wait()

    def has_room(self, size_bytes: int, ratio: float) -> bool:
        """Whether something that can wait may be sent: it leaves the rest of the month's budget to what can not.

        Args:
            size_bytes: Of what would be sent.
            ratio: Of the month's budget, that may be spent with it.
        """
        budget = self._bytes_per_month
        return budget is None or self._spending.spent_bytes() + _with_extra(size_bytes) <= ratio * budget

    def _check(self, budget: int, left_bytes: int, doing: str) -> None:
        spent_bytes, month = self._spending.spent_bytes(), self._spending.month
        needed_bytes = _with_extra(left_bytes)
        if spent_bytes + needed_bytes > budget:
            raise BudgetError(
                f"{doing}: about {needed_bytes} bytes are left to fetch, "
                f"{max(0, budget - spent_bytes)} of the {budget} bytes of {month} are left to spend",
                f"the agent goes on by itself at {next_month(month):%Y-%m-%d %H:%M} UTC; sooner with a larger budget: "
                "shoal devices limit",
            )


def _with_extra(size_bytes: int) -> int:
    return size_bytes + int(size_bytes * _EXTRA)
