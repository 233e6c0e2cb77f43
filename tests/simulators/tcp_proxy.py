"""A relay between two ends of TCP connections: it counts what passes, and says when a share has come down."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_READ_BYTES = 16 * 1024


class TcpProxy:
    """Listens on a free port and relays to another.

    Args:
        target_port: Where to, on this machine.
        at_bytes: After so many bytes from there, `then` is called, once.
        then: What happens in the middle.
    """

    def __init__(self, target_port: int, at_bytes: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self._target_port = target_port
        self._at_bytes = at_bytes
        self._then = then
        self._has_happened = at_bytes == 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.down_bytes = 0
        """What has come from the target, TLS and all."""
        self.up_bytes = 0
        """What has gone to it."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Relay until closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                for source, sink, is_down in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._relay, args=(source, sink, is_down), daemon=True).start()

    def close(self) -> None:
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _relay(self, source: socket.socket, sink: socket.socket, is_down: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_READ_BYTES):
                if is_down:
                    self._count(len(data))
                else:
                    with self._lock:
                        self.up_bytes += len(data)
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self.down_bytes += size_bytes
            if self._has_happened or self.down_bytes < self._at_bytes:
                return
            self._has_happened = True
        self._then()


@contextmanager
def relaying(target_port: int, at_bytes: int = 0, then: Callable[[], None] = lambda: None) -> Iterator[TcpProxy]:
    """Run a relay for the length of the block."""
    proxy = TcpProxy(target_port, at_bytes, then)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
