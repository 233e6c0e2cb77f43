"""What the link needs below paho-mqtt: why a connection failed, bounds on what is read, the socket's silence and speed.

Tests pin the private names of paho-mqtt: `_sock_recv`, `_packet_handle`, `_in_packet`, `_client_id`.
"""

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Callable

from paho.mqtt.client import PUBLISH, Client
from paho.mqtt.enums import MQTTErrorCode

from shoal_contract.limits import MAX_PACKET_BYTES

_TYPE, _AT_QOS_2 = 0xF0, 0x04  # in a packet's first byte
_TCP_INFO_BYTES, _LAST_DATA_RECEIVED = 104, 52  # struct tcp_info of linux/tcp.h


class MqttClient(Client):
    """Keeps why a connection was not made, which paho drops before it calls `on_connect_fail`.

    It hangs up on what would take its memory or end its thread, and what only a broker that was taken over sends: a
    packet larger than the contract's, a message of a service that nobody asked for, a topic that is no text.
    """

    connect_error: "OSError | None" = None

    @property
    def is_driven(self) -> bool:
        """Whether something moves this client's packets: its thread, which may have ended without a word."""
        name = f"paho-mqtt-client-{self._client_id.decode()}"
        return name in {thread.name for thread in threading.enumerate()}

    def call_in(self, loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
        """Have the event loop call a function; for callbacks, which are called in this client's thread."""
        loop.call_soon_threadsafe(function, *arguments)

    def reconnect(self) -> MQTTErrorCode:
        """Connect, as paho does."""
        self.connect_error = None
        try:
            return super().reconnect()
        except OSError as error:
            self.connect_error = error
            raise

    def _sock_recv(self, bufsize: int) -> bytes:
        """Receive at most so many bytes: what is left of the packet that was announced."""
        if bufsize > MAX_PACKET_BYTES:
            msg = f"the broker announced a packet of {bufsize} bytes, at most {MAX_PACKET_BYTES} are allowed"
            raise ConnectionError(msg)
        return super()._sock_recv(bufsize)

    def _packet_handle(self) -> MQTTErrorCode:
        """Act on a packet that has come as a whole."""
        if _is_hostile(self._in_packet["command"], self._in_packet["packet"]):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._packet_handle()


def _is_hostile(command: int, packet: bytearray) -> bool:
    """Whether it is a PUBLISH at QoS 2, which paho would keep until it is released, or on a topic that is no UTF-8."""
    if command & _TYPE != PUBLISH:
        return False
    end = 2 + int.from_bytes(packet[:2], "big")
    try:
        packet[2:end].decode()
    except UnicodeDecodeError:
        return True
    return bool(command & _AT_QOS_2)


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
