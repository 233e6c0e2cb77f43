"""One sink of a pipeline with its own backlog: what waits for it, what it got, and what it refused."""

from collections.abc import Callable
from logging import getLogger

import anyio

from shoal_agent.backlog import Backlog
from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.features.sinks import Sink
from shoal_agent.settings import FeatureSettings

_log = getLogger(__name__)


class Delivery:
    """Hands results to a sink, in order, until it is cancelled. Results of a call that fails come again.

    Args:
        name: For the log and the counts.
        sink: Takes them.
        most: Results that may wait.
        settings: Bounds.
        tell: Called with the sink's problem, and with None once it takes results again.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        most: int,
        settings: FeatureSettings,
        tell: Callable[[FeaturesError | None], None],
    ) -> None:
        self.name = name
        self.waiting: Backlog[bytes] = Backlog(most)
        self.sent = 0
        self.refused = 0
        self._sink = sink
        self._settings = settings
        self._tell = tell

    async def run(self) -> None:
        """Deliver for ever."""
        pause_s = self._settings.retry_min_s
        try:
            while True:
                results = await self.waiting.take(self._settings.sink_results)
                if await self._send(results):
                    pause_s = self._settings.retry_min_s
                else:
                    await anyio.sleep(pause_s)
                    pause_s = min(2 * pause_s, self._settings.retry_max_s)
        finally:
            with anyio.CancelScope(shield=True):
                await self._sink.aclose()

    async def _send(self, results: list[bytes]) -> bool:
        """Return whether the sink can be given more at once."""
        try:
            await self._sink.send(results)
        except UnreachableError as error:
            self.waiting.put_back(results)
            self._tell(error)
            return False
        except FeaturesError as error:
            _log.warning("features: sink %s refuses %d results: %s", self.name, len(results), error)
            self.refused += len(results)
            self._tell(error)
        else:
            self.sent += len(results)
            self._tell(None)
        return True

    def counts(self) -> dict[str, object]:
        """Return what became of results."""
        return {
            "sink": self.name,
            "sent": self.sent,
            "refused": self.refused,
            "dropped": self.waiting.dropped,
            "waiting": len(self.waiting),
        }
