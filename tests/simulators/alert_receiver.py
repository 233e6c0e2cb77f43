"""A real HTTP server that takes webhooks, and fails, hangs or answers too late as a test has it."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

Behaviour = Literal["take", "fail", "hang", "take_late", "drip", "redirect"]


class Taken(NamedTuple):
    """One request that came in whole."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Does to each request the next thing of `script`; after its end, takes it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: deque[Behaviour] = deque()
        self.taken: list[Taken] = []
        self.asked = threading.Semaphore(0)
        """Released by each request that came in whole."""
        self.go_on = threading.Event()
        """Ends what hangs."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret-path"

    @property
    def keys(self) -> list[str]:
        return [one.headers["idempotency-key"] for one in self.taken]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve for the length of the block."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        behaviour = self.server.script.popleft() if self.server.script else "take"
        if behaviour in {"take", "take_late", "redirect"}:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.taken.append(Taken(self.path, headers, body))
        self.server.asked.release()
        if behaviour in {"hang", "take_late"}:
            self.server.go_on.wait(30)
        elif behaviour == "drip":
            self._drip()
            return
        status = {"fail": 503, "redirect": 302}.get(behaviour, 204)
        self.send_response(status)
        if behaviour == "redirect":
            self.send_header("location", self.server.url)
        try:
            self.end_headers()
        except OSError:
            return  # nobody waits for the answer any more

    def _drip(self) -> None:
        """Send a header byte by byte, and never come to its end."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
            while not self.server.go_on.wait(0.05):
                self.wfile.write(b"y")
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
