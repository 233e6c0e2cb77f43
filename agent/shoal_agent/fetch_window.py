"""How many chunks a transfer asks for at a time: one on a slow line; on a fast one several, and those in bursts.

What is asked for in one moment goes out in one packet (`shoal_agent.asks`), so a burst costs the broker as few packets
as one larger chunk would. A slow line has one small chunk under way, and what the hub says next waits for no more.
"""

from collections import deque

import anyio


class FetchWindow:
    """Turns to ask for a chunk.

    Args:
        most: Chunks that may be under way at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = 1
        self._under_way = 0
        self._waiting: deque[anyio.Event] = deque()

    async def wait(self) -> None:
        """Wait for a turn, which the caller has until it calls `done`."""
        turn = anyio.Event()
        self._waiting.append(turn)
        self._let_go()
        try:
            if not turn.is_set():
                await turn.wait()
        except BaseException:
            self._give_back(turn)
            raise

    def done(self) -> None:
        """Give a turn back; those who wait have theirs once half of the chunks have come."""
        self._under_way -= 1
        self._let_go()

    def measured(self, *, is_fast: bool) -> None:
        """Go by what a chunk took: one more at a time, which doubles them by the time that all have come; or half."""
        self._allowed = min(self._most, self._allowed + 1) if is_fast else max(1, self._allowed // 2)

    def _let_go(self) -> None:
        free = self._allowed - self._under_way
        if free < max(1, self._allowed // 2) and self._under_way:
            return
        while self._waiting and self._under_way < self._allowed:
            self._under_way += 1
            self._waiting.popleft().set()

    def _give_back(self, turn: anyio.Event) -> None:
        if turn.is_set():
            self.done()
        else:
            self._waiting.remove(turn)
