"""Online features in a Redis that hubs on several machines share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from shoal_hub.errors import SettingsError, UnavailableError
from shoal_hub.online_features.store import OnlineRow, OnlineStore, from_bytes, to_bytes
from shoal_hub.online_features.values import Held

SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_PREFIX: Final = "shoal:features:1:"
_TIME_CHARS: Final = 20
"""Of a time in ns with zeros in front: such texts are in the order of their numbers, which Lua's own lose digits of."""
_AT_ONCE: Final = 500
_TIMEOUT_S: Final = 2.0
_WRITE: Final = f"""
local kept = 0
for place, key in ipairs(KEYS) do
    local body, gone = ARGV[2 * place - 1], ARGV[2 * place]
    local held = redis.call('GETRANGE', key, 0, {_TIME_CHARS - 1})
    if held == '' or held <= string.sub(body, 1, {_TIME_CHARS}) then
        redis.call('SET', key, body, 'PXAT', gone)
        kept = kept + 1
    end
end
return kept
"""


class RedisStore(OnlineStore):
    """Values under `shoal:features:1:<view>:<entity>`, which Redis drops by itself when their time is over.

    Args:
        url: `redis://`, `rediss://` or `unix://`.

    Raises:
        SettingsError: The library is not installed, or the URL is none of its.
    """

    def __init__(self, url: str) -> None:
        self._client = _client(url)
        parts = urlsplit(url)
        self._where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        self._script = self._client.register_script(_WRITE)

    def write(self, view: str, rows: Sequence[OnlineRow], keep_s: float) -> int:
        """See `OnlineStore`."""
        kept, keep_ms = 0, int(keep_s * 1000)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            said: list[bytes | int] = []
            for one in part:
                said += [f"{one.at_ns:0{_TIME_CHARS}d}".encode() + to_bytes(one.values)]
                said += [one.at_ns // 1_000_000 + keep_ms]
            with self._telling("writing"):
                kept += self._script(keys=[f"{_PREFIX}{view}:{one.entity}" for one in part], args=said)
        return kept

    def read(self, view: str, entities: Sequence[str]) -> list[Held | None]:
        """See `OnlineStore`."""
        with self._telling("reading"):
            found = self._client.mget([f"{_PREFIX}{view}:{one}" for one in entities]) if entities else []
        return [None if one is None else Held(int(one[:_TIME_CHARS]), from_bytes(one[_TIME_CHARS:])) for one in found]

    def forget(self, view: str) -> None:
        """See `OnlineStore`."""
        with self._telling("forgetting a view"):
            held: list[bytes] = []
            for key in self._client.scan_iter(f"{_PREFIX}{view}:*", count=_AT_ONCE):
                held.append(key)
                if len(held) >= _AT_ONCE:
                    self._client.unlink(*held)
                    held.clear()
            if held:
                self._client.unlink(*held)

    def close(self) -> None:
        """See `OnlineStore`."""
        self._client.close()

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise UnavailableError(
                f"{doing} online features at {self._where}: {str(error)[:200]}", "look at that Redis, and try again"
            ) from error


def _client(url: str) -> Any:  # noqa: ANN401 - a library that not every hub has
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise SettingsError(
            "opening the store of online features: redis is not installed", "pip install 'shoal[serve]'"
        ) from error
    try:
        # One retry: a connection of the pool that Redis has closed meanwhile is no failure.
        return redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
    except ValueError as error:
        raise SettingsError(
            f"opening the store of online features: {error}", "set SHOAL_ONLINE_FEATURES_URL to redis://HOST:PORT/0"
        ) from error
