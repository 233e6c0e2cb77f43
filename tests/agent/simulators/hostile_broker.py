"""A broker with the hub's own certificate, as after a compromise, that answers devices with whatever it likes."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from shoal_hub.trust.ca import DeviceAuthority

CONNACK = bytes([0x20, 3, 0, 0, 0])


@dataclass
class HostileBroker:
    """Accepts a connection, then sends `answer`, and reads until the device hangs up.

    `connections` counts the accepted ones; `hung_up` is released each time a device has ended one by itself.
    """

    port: int
    answer: bytes = b""
    connections: int = 0
    hung_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@contextmanager
def hostile_broker(authority: DeviceAuthority, answer: bytes, port: int = 0) -> Iterator[HostileBroker]:
    """Run one for the length of the block, by default on a free port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue_server(["127.0.0.1", "localhost"])
    context.load_cert_chain(pair.certificate, pair.key)
    listener = socket.create_server(("127.0.0.1", port))
    broker = HostileBroker(listener.getsockname()[1], answer)
    thread = threading.Thread(target=_serve, args=(listener, context, broker))
    thread.start()
    try:
        yield broker
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, broker: HostileBroker) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return  # the block has ended
        raw.settimeout(5)
        with suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
            connection.recv(4096)
            broker.connections += 1
            _read_until_it_hangs_up(connection, broker)


def _read_until_it_hangs_up(connection: ssl.SSLSocket, broker: HostileBroker) -> None:
    try:
        connection.sendall(CONNACK + broker.answer)
        while connection.recv(4096):
            pass
    except TimeoutError:
        return
    except OSError:
        pass  # in the middle of what was sent, which is hanging up as well
    broker.hung_up.release()
