"""A real HTTP API on loopback, which pages a list in four ways and can be busy, slow, broken or endless."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROWS = [{"id": at, "value": at / 2} for at in range(95)]
PAGE = 10


class Api(ThreadingHTTPServer):
    """The server; `busy` holds the answers that come before the next good one, `asked` counts requests by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.busy: list[tuple[int, dict[str, str]]] = []
        self.asked: Counter[str] = Counter()
        self.headers_seen: list[dict[str, str]] = []
        self.rows: list[Any] = list(ROWS)


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked[parts.path] += 1
        self.server.headers_seen.append(dict(self.headers))
        if self.server.busy:
            status, headers = self.server.busy.pop(0)
            if status == 0:  # ends the connection within
                self.connection.close()
                return
            self._answer(b"busy", headers, status)
            return
        getattr(self, "_" + parts.path.strip("/"))(query)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _all(self, _: dict[str, str]) -> None:
        self._json(self.server.rows)

    def _link(self, query: dict[str, str]) -> None:
        at = int(query.get("from", 0))
        more = {"Link": f'</link?from={at + PAGE}>; rel="next"'} if at + PAGE < len(self.server.rows) else {}
        self._json(self.server.rows[at : at + PAGE], more)

    def _elsewhere(self, _: dict[str, str]) -> None:
        self._json(self.server.rows[:PAGE], {"Link": '<http://127.0.0.2:9/steal>; rel="next"'})

    def _cursor(self, query: dict[str, str]) -> None:
        at = int(query.get("after", 0))
        following = str(at + PAGE) if at + PAGE < len(self.server.rows) else None
        self._json({"data": {"items": self.server.rows[at : at + PAGE]}, "meta": {"next": following}})

    def _page(self, query: dict[str, str]) -> None:
        at = (int(query.get("page", 1)) - 1) * PAGE
        self._json({"items": self.server.rows[at : at + PAGE]})

    def _offset(self, query: dict[str, str]) -> None:
        at = int(query["offset"])
        self._json(self.server.rows[at : at + min(PAGE, int(query["limit"]))])

    def _broken(self, query: dict[str, str]) -> None:
        if query.get("page") == "3":
            self._answer(b'[{"id": 2', {})
        else:
            self._page_list(query)

    def _page_list(self, query: dict[str, str]) -> None:
        at = (int(query.get("page", 1)) - 1) * PAGE
        self._json(self.server.rows[at : at + PAGE])

    def _moved(self, _: dict[str, str]) -> None:
        self._answer(b"", {"Location": "/all"}, 302)

    def _endless(self, _: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        for _at in range(10_000):
            self.wfile.write(b" " * 65_536)

    def _dripping(self, _: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        for _at in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)  # what is tested is a slow answer

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), headers or {})

    def _answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_api() -> Iterator[Api]:
    """Run one for the length of the block."""
    api = Api()
    thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        api.server_close()
        thread.join()
