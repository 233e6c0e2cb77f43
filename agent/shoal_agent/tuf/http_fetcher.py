"""Reads metadata over HTTP(S), in bounded time whatever the server does, and sends nothing that is secret.

TUF's metadata vouches for itself, so a hub whose certificate this device does not know (its CA has changed while the
device was off) may still deliver it: the server is then read without being trusted.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.fetchers import BoundedFetcher
from shoal_contract import __version__

_READ_BYTES = 64 * 1024
MakeContext = Callable[[], ssl.SSLContext]


class HttpFetcher(BoundedFetcher):
    """A fetcher over HTTP and HTTPS without redirects, proxies, cookies or a client certificate.

    Args:
        settings: Bounds.
        make_context: Trusts the hub's CA; None trusts what the system does.
        reads_untrusted: Whether to read a server whose certificate is refused, without believing who it is.
    """

    where = "HTTPS"

    def __init__(
        self, settings: TrustSettings, make_context: MakeContext | None = None, *, reads_untrusted: bool = False
    ) -> None:
        self._make_context = make_context or ssl.create_default_context
        self._may_read_untrusted = reads_untrusted
        super().__init__(settings)

    def begin(self) -> None:
        """Start a refresh; the server has to prove again who it is."""
        super().begin()
        self._is_untrusted = False

    def _read(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._answer(url)
        except ssl.SSLCertVerificationError as error:
            if not self._may_read_untrusted or self._is_untrusted:
                raise DownloadError(f"{url}: {error}") from error
            self._is_untrusted = True
            yield from self._read(url)
        except TimeoutError as error:
            message = f"{url}: silent for {self._settings.silence_s} s"
            raise SlowRetrievalError(message) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(f"{url}: {error}") from error

    def _answer(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        # A server that sends a byte now and then, in the handshake or a header, never times out by itself.
        watchdog = threading.Timer(self.left_s, _cut, (connection,))
        watchdog.daemon = True
        watchdog.start()
        try:
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request("GET", path, headers={"User-Agent": f"shoal-agent/{__version__}"})
            with connection.getresponse() as response:
                _ = self.left_s  # a header that was cut reads like one that has ended
                if response.status != http.client.OK:
                    raise DownloadHTTPError(f"{url}: the server answered {response.status}", response.status)
                while part := response.read1(_READ_BYTES):
                    yield part
        except (OSError, http.client.HTTPException) as error:
            _ = self.left_s  # tells of the time that is over, rather than of the connection that was cut for it
            raise error from None
        finally:
            watchdog.cancel()
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        timeout_s = min(self._settings.silence_s, self.left_s)
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        context = _untrusting() if self._is_untrusted else self._make_context()
        return _BoundedConnection(host, port, timeout=timeout_s, context=context)


class _BoundedConnection(http.client.HTTPSConnection):
    """Shows its socket before the handshake, so that it can be cut during it."""

    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), self.timeout)
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined]  # of http.client's own, untyped
        self.sock = context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def _untrusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection from another thread: whoever reads from it wakes with an error."""
    sock: socket.socket | None = connection.sock
    if sock is not None:
        try:
            # The plain socket's method: TLS's own would let the reader go on without TLS.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself just now
