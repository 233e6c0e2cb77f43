"""Connections of the client: by TCP, TLS or a Unix-domain socket, and the stream of predictions over one of its own."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from shoal_agent.errors import AgentError

TIMEOUT_S: Final = 30.0
_UNIX: Final = "unix:"
_LINE_BYTES: Final = 64 * 1024
_START: Final = "is it running? start it: shoal-agent run"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix-domain socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect(url: str, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection that opens with its first request.

    Args:
        url: `http://host:port`, `https://host:port`, or `unix:/path/of/the/socket`.
        timeout_s: Of each call.

    Raises:
        AgentError: It is of another form.
    """
    if url.startswith(_UNIX):
        return _UnixConnection(url.removeprefix(_UNIX), timeout_s)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise AgentError(f"connecting to {url!r}: not an address", "give http://host:port, https:// or unix:/path")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_s)


def unreachable(doing: str, error: Exception) -> AgentError:
    """Return the error of a call that nobody answered."""
    return AgentError(f"{doing}: {str(error) or type(error).__name__}", _START)


def refused(doing: str, status: int, content: bytes) -> AgentError:
    """Return the error of a call that was refused."""
    try:
        reason = str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        reason = content[:200].decode("utf-8", "replace")
    return AgentError(f"{doing}: {status}: {reason}", "correct the request")


def stream_predictions(
    url: str, model: str, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> Iterator[dict[str, Any]]:
    """Yield the data of each event of a stream of predictions, until the agent ends it.

    Args:
        url: As for `connect`.
        model: Whose predictions; empty: all.
        headers: Of the request.
        timeout_s: How long nothing may come; a stream that lives says something more often.

    Raises:
        AgentError: Nobody answers, or the request is refused.
    """
    path = "/predictions/stream" + (f"?model_name={quote(model, safe='')}" if model else "")
    doing = f"reading predictions of the agent at {url}"
    connection = connect(url, timeout_s)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise refused(doing, response.status, response.read())
        while line := response.readline(_LINE_BYTES):
            field, _, value = line.partition(b": ")
            if field == b"data":
                yield json.loads(value)
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(doing, error) from error
    finally:
        connection.close()
