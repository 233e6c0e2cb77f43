"""Drives the paho clients of many devices in one event loop: paho's own thread a client does not reach thousands.

Only the handshake, which blocks, is left to a few threads. A client may have a slow link: then no more is read of its
socket than its rate allows, and the broker feels it through TCP.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paho.mqtt.enums import MQTTErrorCode

from shoal_agent.link_socket import MqttClient

_MISC_S = 5.0
"""How often keepalives are looked after."""
_READS = 16
"""Packets read of one client before others have their turn."""
_STOP_S = 10.0
_SLOW_BUFFER_BYTES = 64 * 1024
"""What the kernel takes of a slow link before it is read."""


class Network:
    """The sockets of one process.

    Args:
        handshakes: Connections that are being made at a time.
    """

    def __init__(self, handshakes: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.handshakes = asyncio.Semaphore(handshakes)
        self._clients: set[LoopClient] = set()
        self._drives: set[asyncio.Task[None]] = set()

    async def look_after(self) -> None:
        """Send the keepalives that are due, for ever."""
        while True:
            await asyncio.sleep(_MISC_S)
            for client in tuple(self._clients):
                if client.socket() is not None:
                    client.loop_misc()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop, from whatever thread."""
        is_inside = threading.get_ident() == self.thread
        (self.loop.call_soon if is_inside else self.loop.call_soon_threadsafe)(function, *arguments)

    def drive(self, client: "LoopClient") -> None:
        """Keep a client connected until it is stopped."""
        self._clients.add(client)
        task = self.loop.create_task(client.keep_connected())
        self._drives.add(task)
        task.add_done_callback(self._drives.discard)
        task.add_done_callback(lambda _: self._clients.discard(client))


class LoopClient(MqttClient):
    """A client whose packets the event loop moves; `loop_start` and `loop_stop` do for it what they do for a thread.

    Args:
        network: Who drives it.
        bytes_per_s: What its link carries down; None has no limit.
        arguments: Of paho's client.
        options: Of paho's client.
    """

    def __init__(self, network: Network, bytes_per_s: float | None, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - paho's own
        super().__init__(*arguments, **options)
        self._network = network
        self._bytes_per_s = bytes_per_s
        self._delay_s = 1.0
        self._is_stopping = False
        self._is_connecting = False
        self._is_unplugged = False
        self._closed = asyncio.Event()
        self._woken = asyncio.Event()
        self._ended = threading.Event()
        self._watched: int | None = None
        self._is_writing = False
        self._free_s = 0.0
        self._offline_until_s = 0.0
        self.received_bytes = 0
        """What has come over TLS, headers of MQTT included."""
        self.sent_bytes = 0
        """What has gone, likewise."""
        self.on_socket_close = self._on_close
        self.on_socket_register_write = self._on_register_write
        self.on_socket_unregister_write = self._on_unregister_write

    @property
    def is_driven(self) -> bool:
        """Whether the event loop drives it."""
        return not self._ended.is_set()

    def call_in(self, loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
        """Have the event loop call a function; packets are read in its own thread, where nothing has to wake it."""
        if threading.get_ident() == self._network.thread:
            loop.call_soon(function, *arguments)
        else:
            super().call_in(loop, function, *arguments)

    def reconnect_delay_set(self, min_delay: float = 1, max_delay: float = 120) -> None:
        """Set how long it waits before it connects again; the link gives the same for both."""
        super().reconnect_delay_set(min_delay, max_delay)  # type: ignore[arg-type]  # paho is fine with fractions
        self._delay_s = min_delay

    def loop_start(self) -> MQTTErrorCode:
        """Begin to connect, and to connect again whenever a connection ends."""
        self._network.drive(self)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def loop_stop(self) -> MQTTErrorCode:
        """End all that; called in another thread than the event loop's, which it waits for."""
        self._network.loop.call_soon_threadsafe(self._stop)
        self._ended.wait(_STOP_S)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def reconnect(self) -> MQTTErrorCode:
        """Connect, unless the line is cut."""
        if time.monotonic() < self._offline_until_s:
            self.connect_error = OSError("the simulated line is cut")
            raise self.connect_error
        return super().reconnect()

    def cut_line(self, duration_s: float) -> None:
        """Have no network for so long; the connection ends without a farewell."""
        self._offline_until_s = time.monotonic() + duration_s
        self._shut_down()

    def unplug(self) -> None:
        """End it as a power cut does: without a farewell, and without telling the link."""
        self._is_unplugged = True
        self._stop()
        self._unwatch()
        self._shut_down()

    async def keep_connected(self) -> None:
        """Connect, wait for the connection's end, wait, and so on; what paho does in its thread."""
        try:
            while not self._is_stopping:
                if await self._connect():
                    await self._closed.wait()
                with suppress(asyncio.TimeoutError):  # at once where it has been stopped
                    await asyncio.wait_for(self._woken.wait(), self._delay_s)
        finally:
            self._unwatch()
            self._reset_sockets()
            self._ended.set()

    def _sock_recv(self, bufsize: int) -> bytes:
        """Receive and count."""
        data = super()._sock_recv(bufsize)
        self.received_bytes += len(data)
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        """Send and count."""
        sent = int(super()._sock_send(buf))
        self.sent_bytes += sent
        return sent

    async def _connect(self) -> bool:
        self._closed.clear()
        self._is_connecting = True
        try:
            async with self._network.handshakes:
                if self._is_stopping:
                    return False
                await asyncio.to_thread(self.reconnect)
        except OSError:
            if not self._is_stopping and self.on_connect_fail is not None:
                self.on_connect_fail(self, None)
            return False
        finally:
            self._is_connecting = False
        connection = self.socket()
        if connection is None or self._is_unplugged:
            return False
        if self._bytes_per_s is not None and isinstance(connection, socket.socket):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
        self._watched = connection.fileno()
        self._network.loop.add_reader(self._watched, self._on_readable)
        self._on_writable()
        self._on_readable()  # what came with the handshake lies in TLS's buffer, where no selector sees it
        return True

    def _on_readable(self) -> None:
        before_bytes = self.received_bytes
        for _ in range(_READS):
            connection = self.socket()
            if connection is None or self.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if not isinstance(connection, ssl.SSLSocket) or not connection.pending():
                break
        else:
            self._network.loop.call_soon(self._on_readable)
        if self._bytes_per_s is not None:
            self._slow_down(self.received_bytes - before_bytes, self._bytes_per_s)

    def _slow_down(self, count_bytes: int, bytes_per_s: float) -> None:
        """Read no more before the link would have carried what was read."""
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s) + count_bytes / bytes_per_s
        if self._watched is not None and self._free_s > now_s:
            self._network.loop.remove_reader(self._watched)
            self._network.loop.call_later(self._free_s - now_s, self._read_on, self._watched)

    def _read_on(self, watched: int) -> None:
        if self._watched == watched:
            self._network.loop.add_reader(watched, self._on_readable)
            self._on_readable()

    def _on_register_write(self, _client: object, _userdata: object, _socket: object) -> None:
        if not self._is_connecting:  # else in the thread of the handshake, after which it is written
            self._network.loop.call_soon(self._on_writable)

    def _on_writable(self) -> None:
        if self.socket() is None or self.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return
        if self.want_write() and not self._is_writing and self._watched is not None:
            self._is_writing = True
            self._network.loop.add_writer(self._watched, self._on_writable)

    def _on_unregister_write(self, _client: object, _userdata: object, _socket: object) -> None:
        if self._is_writing and self._watched is not None:
            self._is_writing = False
            self._network.loop.remove_writer(self._watched)

    def _on_close(self, _client: object, _userdata: object, _socket: object) -> None:
        if self._watched is not None:
            self._unwatch()
            self._closed.set()

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._network.loop.remove_reader(self._watched)
            self._network.loop.remove_writer(self._watched)
            self._watched, self._is_writing = None, False

    def _shut_down(self) -> None:
        connection = self.socket()
        if isinstance(connection, ssl.SSLSocket):
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _stop(self) -> None:
        self._is_stopping = True
        self._woken.set()
        if self.socket() is None or self._is_unplugged or not self.want_write():
            self._closed.set()
