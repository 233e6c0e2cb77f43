"""Kept answers in a Redis that several servers share: no request waits for it longer than a bound, or fails by it.

Look-ups and writes are made by threads of this cache's own, so that neither a slow answer nor a name that does not
resolve holds a request. After a failure Redis is let be for a while, and models answer by themselves.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass
from logging import getLogger
from typing import Any, Final
from urllib.parse import urlsplit

from shoal_agent.engines import Array
from shoal_agent.errors import AgentError
from shoal_agent.serving.answer_bytes import decode_outputs, encode_outputs
from shoal_agent.serving.cache import CacheCounts, Outputs, answer_key
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.parameters import are_of_members

_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_PREFIX: Final = b"shoal:answer:1:"
_log = getLogger(__name__)


@dataclass(frozen=True)
class RedisSettings:
    """Bounds of what is asked of Redis."""

    wait_s: float = 0.05
    """What a request waits for a look-up at most; then the model answers."""
    connect_s: float = 1.0
    """How long a thread of the cache connects."""
    rest_s: float = 5.0
    """After a failure Redis is not asked for so long."""
    lookups: int = 2
    """Look-ups at a time: as many as requests are worked on."""
    max_value_bytes: int = 1024 * 1024
    """A larger answer is not kept, and not taken."""
    max_writes: int = 64
    """Answers that wait to be written; more are not kept."""


@dataclass
class RedisCounts:
    """What went wrong with it; written by several threads, so that a count may be off by a few."""

    hits: int = 0
    misses: int = 0
    failures: int = 0
    """Look-ups and writes that failed or took too long."""
    damaged: int = 0
    """Values that were no answers; each is a miss."""


class RedisCache:
    """Safe for use by several threads; for worker threads alone, since a look-up waits.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        ttl_s: How long an answer is good for.
        settings: Bounds.
        clock_s: Seconds that never go back.

    Raises:
        AgentError: The library is not installed, or the URL is none of its.
    """

    def __init__(
        self,
        url: str,
        ttl_s: float,
        settings: RedisSettings = RedisSettings(),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = _client(url, settings)
        self._where = _where(url)
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._settings = settings
        self._clock_s = clock_s
        self._lookups = futures.ThreadPoolExecutor(settings.lookups, "redis-get")
        self._writes = futures.ThreadPoolExecutor(1, "redis-set")
        self._room = threading.Semaphore(settings.max_writes)
        self._rests_until_s = -1.0
        self._is_failing = False
        self.told = RedisCounts()

    def key(self, served: ServedModel, inputs: Mapping[str, Array]) -> bytes:
        """Return what an answer to these inputs by this version is found by."""
        return answer_key(served, inputs)

    def get(self, key: bytes, served: ServedModel) -> Outputs | None:
        """Return a kept answer, which is not to be changed; None where there is none, or none in time."""
        data = self._look_up(key)
        outputs = decode_outputs(key, data, served.engine.outputs) if data else None
        outputs = outputs if outputs is not None and are_of_members(served, outputs) else None
        self.told.damaged += bool(data) and outputs is None
        if outputs is None:
            self.told.misses += 1
        else:
            self.told.hits += 1
        return outputs

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Have an answer kept, unless Redis rests, too many wait, or it is too large; waits for nothing."""
        if self._rests() or not self._room.acquire(blocking=False):
            return
        value = encode_outputs(key, outputs)
        if len(value) > self._settings.max_value_bytes:
            self._room.release()
            return
        try:
            self._writes.submit(self._write, key, value)
        except RuntimeError:  # it was closed meanwhile
            self._room.release()

    def counts(self) -> CacheCounts:
        """Return what became of look-ups; what is kept is Redis's to know."""
        return CacheCounts(self.told.hits, self.told.misses, 0, 0)

    def close(self) -> None:
        """Wait for nothing more, and hang up."""
        for pool in (self._lookups, self._writes):
            pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _rests(self) -> bool:
        return self._clock_s() < self._rests_until_s

    def _look_up(self, key: bytes) -> bytes:
        if self._rests():
            return b""
        asked: futures.Future[bytes] | None = None
        try:
            # A value that somebody has made huge is not taken whole: one byte more than allowed breaks its digest.
            asked = self._lookups.submit(self._client.getrange, _PREFIX + key, 0, self._settings.max_value_bytes)
            found = asked.result(self._settings.wait_s)
        except futures.TimeoutError:
            if asked is not None:
                asked.cancel()
            self._failed(f"no answer within {self._settings.wait_s:g} s")
            return b""
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the model answers
            self._failed(str(error) or type(error).__name__)
            return b""
        self._worked()
        return found

    def _write(self, key: bytes, value: bytes) -> None:
        try:
            if not self._rests():
                self._client.set(_PREFIX + key, value, px=self._ttl_ms)
        except Exception as error:  # noqa: BLE001 - likewise
            self._failed(str(error) or type(error).__name__)
        finally:
            self._room.release()

    def _failed(self, reason: str) -> None:
        self.told.failures += 1
        self._rests_until_s = self._clock_s() + self._settings.rest_s
        if not self._is_failing:
            self._is_failing = True
            text = "kept answers at %s: %s; models answer by themselves, and it is asked again every %g s"
            _log.warning(text, self._where, reason[:200], self._settings.rest_s)

    def _worked(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("kept answers at %s are there again", self._where)


def _client(url: str, settings: RedisSettings) -> Any:  # noqa: ANN401 - a library that devices do not have
    if urlsplit(url).scheme not in _SCHEMES:
        message = "opening the cache of answers: its address begins with none of redis://, rediss:// and unix://"
        raise AgentError(message, "give it as --cache-redis redis://HOST:PORT/0")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise AgentError(
            "opening the cache of answers: redis is not installed", "pip install 'shoal[serve]'"
        ) from error
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=settings.wait_s,
            socket_connect_timeout=settings.connect_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=settings.lookups + 1,
        )
    except ValueError as error:
        raise AgentError(f"opening the cache of answers: {error}", "give it as redis://HOST:PORT/0") from error


def _where(url: str) -> str:
    """Return the address without whatever is secret in it."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
