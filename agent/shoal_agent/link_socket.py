"""The link's socket under paho-mqtt: why it was not opened, how long it has been silent, and that it sends at once."""

import math
import socket
import struct

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

_TCP_INFO_BYTES, _LAST_DATA_RECEIVED = 104, 52  # struct tcp_info of linux/tcp.h


class MqttClient(Client):
    """Keeps why a connection was not made, which paho drops before it calls `on_connect_fail`."""

    connect_error: "OSError | None" = None

    def reconnect(self) -> MQTTErrorCode:
        """Connect, as paho does."""
        self.connect_error = None
        try:
            return super().reconnect()
        except OSError as error:
            self.connect_error = error
            raise


def idle_s(connection: object) -> float:
    """Return how long a connection has received nothing (`tcpi_last_data_recv` of Linux's TCP_INFO)."""
    if not isinstance(connection, socket.socket):
        return math.inf
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return math.inf  # closed just now
    return float(struct.unpack_from("=I", info, _LAST_DATA_RECEIVED)[0]) / 1000


def send_at_once(_client: Client, _userdata: object, connection: socket.socket) -> None:
    """Switch Nagle's algorithm off: it holds small packets back for up to 40 ms, and a chunk needs three of them."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
