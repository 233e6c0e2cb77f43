"""A source of retained messages in memory, with faults by script: what is missing, wrong or slow, and for how long."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from shoal_agent.errors import FetchError, LinkError
from shoal_contract import topics
from shoal_contract.transfer import describe, split

CHUNK = 16 * 1024


@dataclass
class RetainedTopics:
    """Implements the fetcher's `RetainedSource`; counts what it delivers, as the broker's traffic would."""

    messages: dict[str, bytes] = field(default_factory=dict)
    delivered: Counter[str] = field(default_factory=Counter)
    delay_s: Callable[[str], float] = lambda _: 0.0
    is_down: bool = False
    listed: set[str] = field(default_factory=set)
    """Hashes of the manifests that the hub's roles list."""
    reading: int = 0
    most_at_once: int = 0

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        if self.is_down:
            raise LinkError("waiting: the link is down")
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        try:
            await anyio.sleep(self.delay_s(topic))
            if topic not in self.messages:
                raise FetchError(f"waiting for {topic}: silent for {timeout_s} s")
        finally:
            self.reading -= 1
        self.delivered[topic] += 1
        return self.messages[topic]

    def publish(self, data: bytes) -> str:
        """Publish an artifact; return its hash."""
        manifest = describe(data, CHUNK)
        self.messages[topics.artifact_manifest(manifest.sha256)] = manifest.to_bytes()
        for index, chunk in enumerate(split(data, CHUNK)):
            self.messages[topics.artifact_chunk(manifest.sha256, index)] = chunk
        return manifest.sha256
