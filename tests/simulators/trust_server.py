"""A hub's trust routes over HTTPS on a real port, and what a server that means ill makes of them."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Literal

from tests.simulators.tuf_repository import TufRepository

from shoal_contract.trust import METADATA_PATH, TARGETS_PATH

Mood = Literal["honest", "endless", "trickles", "trickles-headers", "silent"]


@dataclass
class TrustServer:
    """What it serves, how, and what it was asked."""

    repository: TufRepository
    mood: Mood = "honest"
    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def content(self, path: str) -> bytes | None:
        """Return what stands at a path."""
        if path.startswith(METADATA_PATH):
            return self.repository.files.get(path.removeprefix(METADATA_PATH).removesuffix(".json"))
        return self.repository.targets_files.get(path.removeprefix(TARGETS_PATH))


class _Handler(BaseHTTPRequestHandler):
    hub: TrustServer

    def do_GET(self) -> None:
        self.hub.requests.append((self.path, dict(self.headers)))
        content = self.hub.content(self.path)
        with suppress(OSError):  # whoever is kept waiting hangs up
            if self.hub.mood == "trickles-headers":
                self._drip(b"HTTP/1.0 200 OK\r\nX-Padding: " + b"x" * 10_000)
            elif content is None:
                self.send_error(404)
            else:
                self._send(content)

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        if self.hub.mood == "honest":
            self.wfile.write(content)
        elif self.hub.mood == "trickles":
            self._drip(content)
        elif self.hub.mood == "endless":
            while not self.hub.stopping.is_set():
                self.wfile.write(b" " * 65_536)
        else:
            self.hub.stopping.wait(30)

    def _drip(self, content: bytes) -> None:
        for byte in content:
            if self.hub.stopping.is_set():
                return
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def trust_server(repository: TufRepository, context: SSLContext | None) -> Iterator[TrustServer]:
    """Serve for the length of the block; plain HTTP without a context."""
    hub = TrustServer(repository)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust us hangs up
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def stalling_tls_server() -> Iterator[str]:
    """Serve a port that sends the beginning of a TLS record a byte at a time; gives its URL."""
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def drip() -> None:
            while not stopping.is_set():
                with suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        for byte in b"\x16\x03\x03\x40\x00" + bytes(16_384):
                            connection.send(bytes([byte]))
                            if stopping.wait(0.05):
                                return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            thread.join()
