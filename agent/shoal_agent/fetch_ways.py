"""The two ways over the uplink by which an artifact comes: retained chunks at the broker, and HTTPS ranges of the hub.

The broker comes first. Over HTTPS comes what is too large for it, and what it has failed to give more than once: its
topics are silent or wrong, or the link is down. A transfer goes on over the other way where it was.
"""

from collections import Counter
from typing import Final, Protocol

from shoal_agent.settings import FetchSettings
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import TransferManifest

_RANGES_AT_A_TIME: Final = 4


class RetainedSource(Protocol):
    """Where retained messages are read from; the link, in production."""

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        """Return the retained message of `topic`.

        Raises:
            FetchError: Nothing arrived within `timeout_s`.
            LinkError: Nothing could arrive, as the link was down.
        """


class RangeSource(Protocol):
    """Where ranges of artifacts are read from; the hub's API, in production."""

    async def chunk_list(self, ref: ArtifactRef) -> bytes:
        """Return the artifact's transfer manifest.

        Raises:
            FetchError: It can not be had now.
        """

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes of an artifact from `start` on.

        Raises:
            FetchError: They can not be had now.
        """


class FetchWays:
    """Chooses a way for each try to fetch an artifact.

    Args:
        source: The broker.
        ranges: The hub; None where there is no such way.
        settings: When the broker has failed often enough.
    """

    def __init__(self, source: RetainedSource, ranges: RangeSource | None, settings: FetchSettings) -> None:
        self._source = source
        self._ranges = ranges
        self._settings = settings
        self._failures: Counter[str] = Counter()

    async def chunk_list(self, ref: ArtifactRef) -> bytes:
        """Return the artifact's transfer manifest, which nobody has signed.

        Raises:
            FetchError: It is missing for now.
            LinkError: The link is down.
        """
        ranges = self._over_https(ref.sha256, ref.size_bytes)
        if ranges is not None:
            return await ranges.chunk_list(ref)
        return await self._source.read_retained(topics.artifact_manifest(ref.sha256), self._settings.silence_s)

    async def chunk(self, manifest: TransferManifest, index: int) -> bytes:
        """Return one chunk, unchecked.

        Raises:
            FetchError: It is missing for now.
            LinkError: The link is down.
        """
        ranges = self._over_https(manifest.sha256, manifest.size_bytes)
        if ranges is not None:
            return await ranges.read(manifest.sha256, index * manifest.chunk_bytes, manifest.size_of(index))
        topic = topics.artifact_chunk(manifest.sha256, index)
        return await self._source.read_retained(topic, self._settings.silence_s)

    def window(self, manifest: TransferManifest) -> int:
        """Return how many chunks this try may have under way: over HTTPS each waits in a thread for the one before."""
        ranges = self._over_https(manifest.sha256, manifest.size_bytes)
        return self._settings.window if ranges is None else min(self._settings.window, _RANGES_AT_A_TIME)

    def failed(self, sha256: str) -> None:
        """Note that a try to fetch the artifact has failed."""
        self._failures[sha256] += 1

    def succeeded(self, sha256: str) -> None:
        """Note that the artifact has come: the next one begins at the broker again."""
        self._failures.pop(sha256, None)

    def _over_https(self, sha256: str, size_bytes: int) -> RangeSource | None:
        """Return the hub's ranges if this try goes there: with both ways failing, they take turns."""
        beyond = self._failures[sha256] - self._settings.https_after
        is_turn = beyond >= 0 and beyond % 2 == 0
        return self._ranges if is_turn or size_bytes > MAX_ARTIFACT_BYTES else None
