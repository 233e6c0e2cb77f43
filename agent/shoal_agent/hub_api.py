"""The hub's API over HTTPS, as far as a device needs it: one request, one bounded answer."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from shoal_agent.errors import HubError, HubUnreachableError, HungUpError

TIMEOUT_S = 20.0
DEFAULT_PORT = 443
API = "/api/v1"
MAX_ANSWER_BYTES = 1024 * 1024
_SERVER_ERROR = 500
_JSON = "application/json"
_NONE: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """What the hub answered, and when by its clock."""

    status: int
    body: bytes
    date: datetime | None


class HubConnection:
    """A connection to the hub that stays open between requests. One thread at a time; close it at the end.

    Args:
        hub_url: The hub's address.
        context: Whom to trust.

    Raises:
        HubError: The address is none.
    """

    def __init__(self, hub_url: str, context: ssl.SSLContext) -> None:
        try:
            parts = urlsplit(hub_url)
            host, port = parts.hostname, parts.port or DEFAULT_PORT
        except ValueError:
            host = None
        if not host or parts.scheme != "https":
            message = f"asking the hub at {hub_url!r}: an address like https://hub.example:8443 was expected"
            raise HubError(message, "give the hub's address with --hub")
        self._hub_url = hub_url
        self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)

    @property
    def is_open(self) -> bool:
        """Whether the next request needs no new connection."""
        return self._connection.sock is not None

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _NONE) -> Answer:
        """Send one request, and return an answer of any status.

        Raises:
            HungUpError: The connection was open before, and the hub has hung up meanwhile.
            HubUnreachableError: No hub answered, or it is not one that the context trusts.
        """
        was_open = self.is_open
        try:
            self._connection.request(method, path, body, {**headers, **({"Content-Type": _JSON} if body else {})})
            response = self._connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
            if not response.isclosed():  # more is left than is ever taken
                self._connection.close()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            message = f"asking the hub at {self._hub_url}: {error}"
            if was_open and isinstance(error, ConnectionError | ssl.SSLEOFError):  # RemoteDisconnected is one, too
                raise HungUpError(message, "ask again on a new connection") from error
            raise HubUnreachableError(message, "check the hub's address, its port and the network") from error
        return Answer(response.status, content, _date(response.getheader("Date")))

    def interrupt(self) -> None:
        """End a request that is being answered in another thread: it raises there. From any thread."""
        if (sock := self._connection.sock) is not None:
            with suppress(OSError):  # it has ended already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TCP: TLS belongs to the other thread

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def call(hub_url: str, method: str, path: str, context: ssl.SSLContext, body: bytes | None = None) -> Answer:
    """Send one request, and return an answer of any status.

    Raises:
        HubError: The address is none.
        HubUnreachableError: No hub answered, or it is not one that `context` trusts.
    """
    with closing(HubConnection(hub_url, context)) as connection:
        return connection.ask(method, path, body)


def refusal(hub_url: str, answer: Answer) -> HubError:
    """Return the error that a refused request comes to; one that may pass by itself is a HubUnreachableError."""
    try:
        error = json.loads(answer.body)["error"]
        code, text, remedy = str(error["code"]), str(error["message"]), str(error["remedy"])
    except (ValueError, KeyError, TypeError):
        code, text, remedy = "", answer.body[:200].decode(errors="replace"), None
    message = f"asking the hub at {hub_url}: the hub answered {answer.status}: {text}"
    if answer.status >= _SERVER_ERROR or answer.status == http.client.TOO_MANY_REQUESTS:
        return HubUnreachableError(message, remedy, code)
    return HubError(message, remedy, code)


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else None
