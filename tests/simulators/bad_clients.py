"""Clients that only take a server's time: thousands of connections that are silent, stop midway, trickle or lie.

Usage: python -m tests.simulators.bad_clients PORT COUNT; to loopback only. Prints what became of them as JSON.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from typing import Final

HOST: Final = "127.0.0.1"
MOST_OPEN: Final = 2000
"""Connections at a time; the one that is open longest makes room."""
EACH_S: Final = 1 / 2000
"""Between two new ones."""
HEAD: Final = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n"
BEGINNINGS: Final = (
    b"",
    b"P",
    HEAD,
    HEAD + b"Content-Length: 999999999999\r\n\r\n",
    HEAD + b"Content-Length: 1000\r\n\r\n{",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    HEAD + b"Inference-Header-Content-Length: 99999\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(20)),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    bytes(range(256)),
)


class Crowd:
    """Connections of one thread, and what was answered on them."""

    def __init__(self, port: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._open: deque[socket.socket] = deque()

    def come(self, number: int) -> None:
        """Open one more connection and begin to ask."""
        if len(self._open) >= MOST_OPEN:
            self._leave(self._open.popleft())
        one = socket.socket()
        one.settimeout(5)
        try:
            one.connect((HOST, self._port))
            one.sendall(BEGINNINGS[number % len(BEGINNINGS)])
        except OSError as error:
            self.outcomes["not taken" if isinstance(error, TimeoutError) else "closed"] += 1
            one.close()
            return
        one.settimeout(0)
        self._selector.register(one, selectors.EVENT_READ)
        self._open.append(one)

    def listen(self, seconds: float) -> None:
        """Read what is answered for a while."""
        end_s = time.monotonic() + seconds
        while True:
            for key, _ in self._selector.select(max(0.0, end_s - time.monotonic())):
                self._read(key.fileobj)  # type: ignore[arg-type]
            if time.monotonic() >= end_s:
                return

    def leave(self) -> None:
        """Close all that are open."""
        while self._open:
            self._leave(self._open.popleft())

    def _read(self, one: socket.socket) -> None:
        try:
            received = one.recv(4096)
        except OSError:
            received = b""
        self.outcomes[_outcome(received)] += 1
        self._open.remove(one)
        self._end(one)

    def _leave(self, one: socket.socket) -> None:
        self.outcomes["left by itself"] += 1
        self._end(one)

    def _end(self, one: socket.socket) -> None:
        self._selector.unregister(one)
        one.close()


def _outcome(received: bytes) -> str:
    if not received:
        return "closed"
    status = received.split(b" ")[1].decode("ascii", "replace") if received.startswith(b"HTTP/1.1 ") else "no HTTP"
    return status if b'{"error"' in received else f"{status} without an error"


def main() -> None:
    """Send the crowd."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    crowd = Crowd(port)
    for number in range(count):
        crowd.come(number)
        crowd.listen(EACH_S)
    crowd.leave()
    print(json.dumps(crowd.outcomes))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
