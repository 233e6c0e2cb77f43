"""Results as messages at a broker on this device or its LAN."""

from collections.abc import Sequence

import anyio.to_thread

from shoal_agent.features.mqtt import LocalBroker
from shoal_agent.features.places import near_address
from shoal_contract.features import MqttSink


class Publications:
    """Publishes each result to one topic.

    Args:
        declared: Where, and how.
        timeout_s: How long a call's connection, and each confirmation, may take.
    """

    def __init__(self, declared: MqttSink, timeout_s: float) -> None:
        self._declared = declared
        self._timeout_s = timeout_s
        self._broker: LocalBroker | None = None

    async def send(self, results: Sequence[bytes]) -> None:
        """Publish results in order.

        Raises:
            UnreachableError: The broker is away; results of the call that it had already come again.
            FeaturesError: It is not on this device or its LAN.
        """
        await anyio.to_thread.run_sync(self._publish, results)

    async def aclose(self) -> None:
        """Disconnect."""
        if self._broker is not None:
            await anyio.to_thread.run_sync(self._broker.stop)

    def _publish(self, results: Sequence[bytes]) -> None:
        declared = self._declared
        if self._broker is None:
            doing = f"publishing to {declared.topic[:100]}"
            broker = LocalBroker(near_address(declared.host, declared.port, doing))
            broker.start()
            self._broker = broker
        for one in results:
            self._broker.publish(
                declared.topic, one, declared.qos, is_retained=declared.is_retained, timeout_s=self._timeout_s
            )
