"""Results as lines of JSON in the body of a POST, to this device or its LAN. No redirect is followed."""

import http.client
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import anyio.to_thread

from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.features.places import near_address

_CONTENT_TYPE: Final = "application/x-ndjson"
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = 500
_MOST_SAID_BYTES: Final = 300


class Posts:
    """Sends results, each call one request on a connection of its own.

    Args:
        url: Where, `http://host:port/path`.
        timeout_s: Of connecting, and of each read.

    Raises:
        FeaturesError: The address is none.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        try:
            self._parts = urlsplit(url)
            self._port = self._parts.port or http.client.HTTP_PORT
        except ValueError as error:
            raise FeaturesError(f"reading the address {url[:200]!r} of a sink: {error}") from error
        if not self._parts.hostname or self._parts.port == 0:
            raise FeaturesError(f"reading the address {url[:200]!r} of a sink: expected http://host:port/path")
        self._url = url
        self._timeout_s = timeout_s

    async def send(self, results: Sequence[bytes]) -> None:
        """Send results.

        Raises:
            UnreachableError: No answer, or one that asks for another try.
            FeaturesError: They are refused, or the address lies beyond the LAN.
        """
        body = b"".join(one + b"\n" for one in results)
        status, said = await anyio.to_thread.run_sync(self._post, body)
        message = f"sending results to {self._url[:200]}: HTTP status {status}: {said}"
        if status >= _SERVER_ERRORS or status in _WORTH_ANOTHER_TRY:
            raise UnreachableError(message)
        if status // 100 != 2:  # noqa: PLR2004 - a class of HTTP statuses
            raise FeaturesError(message, "correct what answers there, or the sink's address")

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _post(self, body: bytes) -> tuple[int, str]:
        doing = f"sending results to {self._url[:200]}"
        address = near_address(str(self._parts.hostname), self._port, doing)
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        headers = {"Host": self._parts.netloc.rpartition("@")[2], "Content-Type": _CONTENT_TYPE, "Connection": "close"}
        connection = http.client.HTTPConnection(*address, timeout=self._timeout_s)
        try:
            connection.request("POST", target, body, headers)
            response = connection.getresponse()
            return response.status, response.read(_MOST_SAID_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{doing}: {error!r}") from error
        finally:
            connection.close()
