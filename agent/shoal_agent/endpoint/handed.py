"""Connections that another process has accepted: of a Unix-domain socket, at whose path only one process can listen.

They come as file descriptors over a socket of their own (`SCM_RIGHTS`): whoever accepts them says whose turn it is.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio

_MOST_AT_ONCE: Final = 16
_FIRST_WORDS_S: Final = 0.05
"""How long who was handed over last has to ask: what it says first may not have been read yet."""


def hand_over(channel: socket.socket, connection: socket.socket) -> bool:
    """Give a connection to whoever reads the channel; return whether there was room. The caller closes its own end."""
    try:
        socket.send_fds(channel, [b"\0"], [connection.fileno()], socket.MSG_DONTWAIT)
    except OSError:  # full, or its reader has ended
        return False
    return True


async def take_handed(channel: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> None:
    """Take the connections that come until the channel ends or this is cancelled, and those that wait in it then.

    Args:
        channel: Of `hand_over`.
        make: Returns the protocol of a new connection.
    """
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    channel.setblocking(False)  # noqa: FBT003 - as the socket has it
    loop.add_reader(channel, readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            if await _take_waiting(channel, make):
                return
    finally:
        loop.remove_reader(channel)
        with suppress(OSError):  # its other end may have gone
            channel.shutdown(socket.SHUT_RD)  # what is handed over from now on is refused, what waits can be read
        await _take_waiting(channel, make)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(_FIRST_WORDS_S)


async def _take_waiting(channel: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> bool:
    """Take the connections that wait, each of them whole; return whether the channel has ended."""
    loop, has_ended = asyncio.get_running_loop(), False
    with anyio.CancelScope(shield=True):
        while not has_ended:
            try:
                data, found, _, _ = socket.recv_fds(channel, 1, _MOST_AT_ONCE)
            except BlockingIOError:
                break
            for one in found:
                connection = socket.socket(fileno=one)
                connection.setblocking(False)  # noqa: FBT003 - as the socket has it
                with suppress(OSError):  # who asked has gone already
                    await loop.connect_accepted_socket(make, connection)
            has_ended = not data
    return has_ended
