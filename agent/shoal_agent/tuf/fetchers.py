"""Reads metadata within bounds, over MQTT's retained topics or over HTTP(S).

python-tuf bounds each file; these bound a whole refresh in bytes and time, however slowly somebody sends. They run in
a worker thread, as python-tuf waits for them.
"""

import time
from abc import abstractmethod
from collections.abc import Iterator
from urllib.parse import unquote

from anyio import from_thread
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from shoal_agent.errors import FetchError, LinkError
from shoal_agent.fetch_ways import RetainedSource
from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.feed import Feed
from shoal_agent.tuf.ngclient import FetcherInterface
from shoal_contract import topics
from shoal_contract.errors import TopicError

NOT_FOUND = 404


class BoundedFetcher(FetcherInterface):
    """A fetcher with a budget of bytes and time, which `begin` sets anew."""

    where = ""
    """How it reads, for people."""

    def __init__(self, settings: TrustSettings) -> None:
        self._settings = settings
        self.begin()

    def begin(self) -> None:
        """Start a refresh: the whole budget is there again."""
        self._deadline_s = time.monotonic() + self._settings.total_s
        self._left_bytes = self._settings.total_bytes

    @property
    def left_s(self) -> float:
        """How much of the refresh's time is left.

        Raises:
            SlowRetrievalError: Nothing.
        """
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            message = f"the refresh took more than {self._settings.total_s} s"
            raise SlowRetrievalError(message)
        return left_s

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a file of at most `max_length` bytes; unlike python-tuf's own, without a temporary file."""
        parts, size = [], 0
        for part in self.fetch(url):
            size += len(part)
            if size > max_length:
                message = f"{url}: more than the {max_length} bytes that are allowed"
                raise DownloadLengthMismatchError(message)
            parts.append(part)
        return b"".join(parts)

    def _fetch(self, url: str) -> Iterator[bytes]:
        for part in self._read(url):
            self._left_bytes -= len(part)
            if self._left_bytes < 0:
                message = f"{url}: the refresh took more than {self._settings.total_bytes} bytes"
                raise DownloadLengthMismatchError(message)
            yield part
            _ = self.left_s
        _ = self.left_s  # a file that was cut reads like one that has ended

    @abstractmethod
    def _read(self, url: str) -> Iterator[bytes]:
        """Yield a file's bytes; raise nothing but python-tuf's DownloadError."""


class RetainedFetcher(BoundedFetcher):
    """Reads the retained topics `trust/…`; what the index does not list is missing at once.

    Args:
        source: Reads a topic.
        feed: The present timestamp and index, which the device subscribes to.
        settings: Bounds.
    """

    where = "MQTT"

    def __init__(self, source: RetainedSource, feed: Feed, settings: TrustSettings) -> None:
        super().__init__(settings)
        self._source = source
        self._feed = feed

    def _read(self, url: str) -> Iterator[bytes]:
        name = url.rsplit("/", 1)[-1].removesuffix(".json")
        if self._feed.timestamp is None or self._feed.names is None:
            raise DownloadError("no timestamp or no index stands at the broker")
        if name == "timestamp":
            yield self._feed.timestamp
        elif name in self._feed.names:
            yield self._retained(name)
        else:
            raise DownloadHTTPError(f"{name} is not in the broker's index", NOT_FOUND)

    def _retained(self, name: str) -> bytes:
        version, _, role = name.partition(".")
        try:
            topic = topics.trust_metadata(int(version), unquote(role))
            timeout_s = min(self._settings.silence_s, self.left_s)
            return from_thread.run(self._source.read_retained, topic, timeout_s)
        except FetchError as error:
            raise SlowRetrievalError(str(error)) from error
        except (LinkError, TopicError, ValueError) as error:
            raise DownloadError(str(error)) from error


class NothingNewFetcher(BoundedFetcher):
    """Reads what is on disk only: the timestamp that was kept, and nothing besides."""

    where = "disk"

    def __init__(self, settings: TrustSettings, timestamp: bytes) -> None:
        super().__init__(settings)
        self._timestamp = timestamp

    def _read(self, url: str) -> Iterator[bytes]:
        if not url.endswith("/timestamp.json"):
            raise DownloadHTTPError(f"{url} is not on disk", NOT_FOUND)
        yield self._timestamp
