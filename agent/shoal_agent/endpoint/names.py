"""Which names a device's loopback may be asked by, so that a web page is refused whose name was made to lead here.

A page reaches loopback from the browser of a person at the device, or of a program that shows pages there. Its requests
say the name that it was reached by (`Host`) and, where they are another page's or change something, whose they are
(`Origin`). No page can choose or leave out either. What sends neither is no browser.
"""

from collections.abc import Iterable
from typing import Final

from shoal_agent.endpoint.message import MISDIRECTED, RequestError

_FORBIDDEN: Final = 403
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_MOST_REMEMBERED: Final = 64
_SHOWN_CHARS: Final = 100


class LocalNames:
    """Decides by a request's headers whether its asker means this device.

    Args:
        hosts: Further names, without a port.
        origins: Pages that may ask, such as `https://panel.example`.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = {*_LOCAL, *(host.lower() for host in hosts)}
        self._origins = {origin.lower() for origin in origins}
        self._right = {b""}
        """Values of `Host` that were found right: nearly every request has one of them."""

    def authorize(self, headers: dict[bytes, bytes]) -> None:
        """See that no web page asks but those that may.

        Raises:
            RequestError: One does: 421 by a foreign name, 403 from a foreign page.
        """
        host = headers.get(b"host", b"")
        if host not in self._right:
            self._check_host(host)
        if b"origin" in headers:
            self._check_origin(headers[b"origin"].decode("latin-1").lower(), host.decode("latin-1").lower())

    def _check_host(self, host: bytes) -> None:
        text = host.decode("latin-1")
        name, colon, port = text.rpartition(":")
        if not colon or not port.isdigit():
            name = text
        if name.lower() not in self._hosts:
            message = f"asked by the name {text[:_SHOWN_CHARS]!r}, which is not one of this device's own"
            remedy = "ask 127.0.0.1 or localhost, or have its owner allow the name: shoal-agent run --allow-host NAME"
            raise RequestError(message, MISDIRECTED, remedy)
        if len(self._right) < _MOST_REMEMBERED:
            self._right.add(host)

    def _check_origin(self, origin: str, host: str) -> None:
        if origin not in self._origins and (not host or origin != f"http://{host}"):
            message = f"asked from the web page of {origin[:_SHOWN_CHARS]!r}"
            remedy = "ask from a program, or have the device's owner allow it: shoal-agent run --allow-origin ORIGIN"
            raise RequestError(message, _FORBIDDEN, remedy)
