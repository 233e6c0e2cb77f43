"""Metrics over plain HTTP at an address of their own, without a token: for a Prometheus on the same machine."""

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final
from urllib.parse import urlsplit

from shoal_hub.errors import SettingsError
from shoal_hub.observe.exposition import HubMetrics

log = logging.getLogger(__name__)

_LONGEST_REQUEST_S: Final = 10.0


class MetricsListener:
    """Serves until it is stopped.

    Args:
        address: `host:port`; port 0 takes a free one.
        metrics: What is told.

    Raises:
        SettingsError: Nothing can listen there.
    """

    def __init__(self, address: str, metrics: HubMetrics) -> None:
        parts = urlsplit(f"//{address}")
        try:
            self._server = _Server((parts.hostname or "", parts.port or 0), metrics)
        except (OSError, ValueError, OverflowError) as error:
            raise SettingsError(
                f"serving metrics at SHOAL_METRICS_ADDRESS={address!r}: {error}",
                "name an address of this machine and a port that is free, like 127.0.0.1:9464",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to serve, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], metrics: HubMetrics) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.metrics = metrics
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, and ask nobody for this machine's name, as the library's own does."""
        TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    timeout = _LONGEST_REQUEST_S
    server: _Server

    def do_GET(self) -> None:
        """Answer `/metrics`."""
        if urlsplit(self.path).path != "/metrics":
            self.send_error(404, "ask for /metrics")
            return
        answer = self.server.metrics.answer(self.headers.get("accept", ""))
        self.send_response(200)
        self.send_header("content-type", answer.content_type)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        """Leave requests that went well out of the log."""
