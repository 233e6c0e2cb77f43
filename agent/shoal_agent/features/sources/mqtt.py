"""Messages of a broker on this device or its LAN."""

from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from shoal_agent.features.errors import UnreachableError
from shoal_agent.features.mqtt import LocalBroker
from shoal_agent.features.places import near_address
from shoal_agent.features.sources.source import Inbox
from shoal_contract.features import MqttSource
from shoal_numerics.features.events import Arrival

_READY_S: Final = 10.0


class BrokerMessages:
    """Takes what is published to a topic filter, from when the subscription stands.

    Args:
        declared: Where, and what.
        clock_ns: The time of what comes.
    """

    def __init__(self, declared: MqttSource, clock_ns: Callable[[], int]) -> None:
        self._declared = declared
        self._clock_ns = clock_ns

    async def run(self, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Put messages into `inbox`; a connection that is lost comes back by itself.

        Raises:
            UnreachableError: The broker is not there, or refuses.
            FeaturesError: It is not on this device or its LAN.
        """
        declared = self._declared
        doing = f"subscribing to {declared.topic[:100]}"
        address = await anyio.to_thread.run_sync(near_address, declared.host, declared.port, doing)
        broker = LocalBroker(address, declared.topic, declared.qos, partial(self._take, inbox))
        broker.start()
        try:
            if not await anyio.to_thread.run_sync(broker.wait_ready, _READY_S, abandon_on_cancel=True):
                where = f"{declared.host} port {declared.port}"
                raise UnreachableError(f"{doing} at {where}: no subscription within {_READY_S:g} s")
            on_ready()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(broker.stop)

    def _take(self, inbox: Inbox, topic: str, payload: bytes) -> None:
        entity = ""
        if self._declared.entity_level is not None:
            levels = topic.split("/")
            # A topic without that level names nobody: its events are refused and counted as malformed.
            entity = levels[self._declared.entity_level] if self._declared.entity_level < len(levels) else ""
            if not entity:
                inbox.put([Arrival(b"null", self._clock_ns())])
                return
        inbox.put([Arrival(payload, self._clock_ns(), entity)])
