"""What a busy connection needs below paho-mqtt: many packets read at one wake-up, and many small ones sent as one.

A packet costs paho a wake-up, three reads of the socket and a write, and a received message all the tables of MQTT 5's
properties, of which the hub uses none: most of what a message costs. Tests pin the private names of paho-mqtt:
`_packet_read`, `_loop_rc_handle`, `_packet_queue`, `_handle_publish`, `_handle_pubackcomp`, `_do_on_publish`,
`_in_packet`, `_out_messages`, `_out_message_mutex`.
"""

import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

from paho.mqtt import MQTTException
from paho.mqtt.client import PUBACK, PUBLISH, Client, MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from shoal_contract.trace_context import TRACEPARENT, TraceContext, contexts_in

_READ_BYTES: Final = 16 * 1024
"""What one record of TLS holds at most."""
_READS: Final = 100
"""Packets that are read before what is to be sent has its turn."""
_LOOK_S: Final = 5.0
"""How often it is looked whether the broker is still there: well below the time after which it is asked."""
_MOST_GATHERED_BYTES: Final = 64 * 1024
_TYPE: Final = 0xF0
_TRACEPARENT: Final = TRACEPARENT.encode()
_NO_TRACE_BYTES: Final = 60
"""Properties up to this length hold no `traceparent`, of 71 bytes."""
_MOST_PROPERTY_BYTES: Final = 2048
"""What the largest number of contexts takes, with room: longer properties are not looked at."""
_GATHERED: Final = frozenset({PUBACK, PUBLISH})
_MID_BYTES: Final = 2
_TAKEN: Final[dict[bytes, ReasonCode]] = {
    b"": ReasonCode(PacketTypes.PUBACK),
    b"\x10": ReasonCode(PacketTypes.PUBACK, identifier=0x10),
}
"""What follows the number in a PUBACK (MQTT 5, section 3.4): nothing for success, or that nobody subscribes to it."""
_NO_PROPERTIES: Final = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]  # paho leaves it untyped


class Arrival(NamedTuple):
    """A message as its packet has it; `mid` is 0 at QoS 0."""

    topic: str
    payload: bytes
    is_retained: bool
    qos: int
    mid: int
    traces: tuple[TraceContext, ...] = ()


def read_publish(command: int, packet: bytes | bytearray) -> Arrival:
    """Read a PUBLISH (MQTT 5, section 3.3); its properties are passed over, but for what it follows from.

    Args:
        command: The packet's first byte.
        packet: What follows the remaining length.

    Raises:
        ValueError: It is cut off, its topic is no UTF-8, or it is of QoS 2, which the hub never asks for.
    """
    qos = (command >> 1) & 0x03
    if qos > 1:
        raise ValueError(f"reading a PUBLISH: quality of service {qos} found, at most 1 expected")
    end = 2 + int.from_bytes(packet[:2], "big")
    topic = packet[2:end].decode()
    mid = int.from_bytes(packet[end : end + 2], "big") if qos else 0
    properties = end + 2 * (qos > 0)
    start = _after_properties(packet, properties)
    traces = _read_traces(packet[properties:start]) if start - properties > _NO_TRACE_BYTES else ()
    return Arrival(topic, bytes(packet[start:]), bool(command & 0x01), qos, mid, traces)


def _read_traces(properties: bytes | bytearray) -> tuple[TraceContext, ...]:
    """Return what a message follows from, of properties as they came; nothing of those that are no whole ones."""
    if len(properties) > _MOST_PROPERTY_BYTES or _TRACEPARENT not in properties:
        return ()
    read = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    try:
        read.unpack(bytes(properties))  # type: ignore[no-untyped-call]
    except (MQTTException, ValueError, IndexError, KeyError, struct.error, AssertionError):
        return ()
    return contexts_in(getattr(read, "UserProperty", ()))


def _after_properties(packet: bytes | bytearray, at: int) -> int:
    """Return where the properties end whose length stands at `at`, a variable byte integer of at most four bytes."""
    length = 0
    for place, byte in enumerate(packet[at : at + 4]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that another byte follows
            end = at + place + 1 + length
            if end <= len(packet):
                return end
            break
    raise ValueError(f"reading a PUBLISH of {len(packet)} bytes: it is cut off")


class ReadAheadSocket(ssl.SSLSocket):
    """Reads a record at a time, of which paho takes one byte, then some, then the rest."""

    _ahead: bytes = b""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return at most so many bytes, none at the end; raises as a socket that would block, if it would."""
        if not self._ahead:
            self._ahead = super().recv(max(buflen, _READ_BYTES), flags)
        taken, self._ahead = self._ahead[:buflen], self._ahead[buflen:]
        return taken

    def pending(self) -> int:
        """Return how many bytes can be had without waiting for the network."""
        return len(self._ahead) + super().pending()


class BatchClient(Client):
    """A client of paho's that is cheap in bulk. It is driven by paho's own thread, `loop_start`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - paho's own
        super().__init__(*arguments, **options)
        self._gathering = _Gathering()
        self.on_arrival: Callable[[Arrival], None] = lambda _: None
        """Called in paho's thread with each message that comes, in place of `on_message`; it must not raise."""
        self.on_end: Callable[[], None] = lambda: None
        """Called as paho's thread ends, of whatever."""
        self.rest_s = 0.0
        """For how long nothing passes once all that had come was read: what comes meanwhile costs one wake-up."""

    def use_tls(self, authority: str, certificate: str, key: str) -> None:
        """Connect by mutual TLS, with these files, to a server whose name is in its certificate.

        Raises:
            OSError: A file cannot be read, or is none of its kind.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it checks certificate and name
        context.load_verify_locations(authority)
        context.load_cert_chain(certificate, key)
        context.sslsocket_class = ReadAheadSocket
        self.tls_set_context(context)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Have this thread's acknowledgements, and what it publishes, leave as one write at the block's end.

        What other threads send meanwhile is not held up, so messages to one topic keep their order only if they come
        from one thread and fit into what may be in flight. Nobody is told that what was gathered has left; that the
        broker has taken a message of QoS 1 is told as ever, after the block.
        """
        gathering = self._gathering
        if gathering.packets is not None:  # within another block, whose end it is that counts
            yield
            return
        gathering.packets = bytearray()
        try:
            yield
        finally:
            self._send_gathered()
            gathering.packets = None

    def loop_forever(self, timeout: float = _LOOK_S, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Drive the connection until it ends, in paho's thread; what is to be sent wakes it."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        finally:
            self.on_end()

    def loop_stop(self) -> MQTTErrorCode:
        """End paho's thread, which may be ending by itself just then: paho's own would join what is gone."""
        thread, self._thread_terminate = self._thread, True
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 - paho's own does not heed it either
        """Read what has come; called by paho's thread when there is something."""
        for _ in range(_READS):
            if self._sock is None:
                return MQTTErrorCode.MQTT_ERR_NO_CONN
            code = self._packet_read()
            if code == MQTTErrorCode.MQTT_ERR_AGAIN:
                if self.rest_s:
                    time.sleep(self.rest_s)
                break
            if code > 0:
                return self._loop_rc_handle(code)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_publish(self) -> MQTTErrorCode:
        """Hand over a message that has come as a whole; the owner acknowledges it."""
        try:
            arrival = read_publish(self._in_packet["command"], self._in_packet["packet"])
        except ValueError:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.on_arrival(arrival)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Have the owner hear that the broker has taken a message, or why not."""
        packet = self._in_packet["packet"]
        taken = _TAKEN.get(bytes(packet[_MID_BYTES:]))
        if cmd != "PUBACK" or taken is None or len(packet) < _MID_BYTES:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:_MID_BYTES], "big")
        with self._out_message_mutex:
            if mid not in self._out_messages:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            return self._do_on_publish(mid, taken, _NO_PROPERTIES)

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        """Have a packet sent, or gather it."""
        gathered = self._gathering.packets
        if gathered is None or command & _TYPE not in _GATHERED:
            return super()._packet_queue(command, packet, mid, qos, info)
        gathered += packet
        return self._send_gathered() if len(gathered) >= _MOST_GATHERED_BYTES else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _send_gathered(self) -> MQTTErrorCode:
        gathered = self._gathering.packets
        if not gathered:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        self._gathering.packets = bytearray()
        return super()._packet_queue(PUBACK, gathered, 0, 1)  # of a PUBACK paho tells nobody either


class _Gathering(threading.local):
    """The packets that a thread is gathering; None where it is not."""

    packets: bytearray | None = None
