"""The client of both servers: one keep-alive connection, bytes prepared beforehand, and what a process holds."""

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PAGE_BYTES = 4096


class Connection:
    """A keep-alive connection that sends one prepared request again and again."""

    def __init__(self, port: int, path: str, body: bytes, header: str = "") -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{header}"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the request; return the answer's body.

        Raises:
            RuntimeError: The answer is not 200.
        """
        self._socket.sendall(self._request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            msg = f"asking port {self._socket.getpeername()[1]}: {received[:300]!r}"
            raise RuntimeError(msg)
        while len(body) < int(length[1]):
            body += self._more()
        return body

    def _more(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            msg = "the server has closed the connection before its answer ended"
            raise RuntimeError(msg)
        return received

    def times_ms(self, count: int) -> list[float]:
        """Ask so many times; return how long each took."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.ask()
            times.append((time.perf_counter() - started) * 1000)
        return times

    def values(self) -> list[float]:
        """Ask once; return the first output's data, flat."""
        data: Any = json.loads(self.ask())["outputs"][0]["data"]
        return [float(value) for value in data]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children."""
    total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(resident_bytes(int(child)) for child in children)
