"""What may stand at a cache's address: one with another's certificate, with wrong bytes, or without end."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.tls import TLSAttribute, TLSStream

Answer = Callable[[TLSStream], Awaitable[None]]
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


def says(body: bytes) -> Answer:
    """Answer every request with this."""

    async def answer(stream: TLSStream) -> None:
        while await stream.receive():
            await stream.send(OK % (len(body), body))

    return answer


async def drips(stream: TLSStream) -> None:
    """Answer a byte now and then, for ever."""
    await stream.receive()
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n")
    while True:
        await anyio.sleep(0.02)
        await stream.send(b"x")


async def never_ends(stream: TLSStream) -> None:
    """Answer with more than anybody asked for, for ever."""
    await stream.receive()
    await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"ffff\r\n" + bytes(0xFFFF) + b"\r\n")


async def never_begins(stream: TLSStream) -> None:
    """Answer with nothing but the promise of an answer."""
    await stream.receive()
    while True:
        await stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await anyio.sleep(0.001)


async def speaks_no_http(stream: TLSStream) -> None:
    """Answer with what is no answer."""
    await stream.receive()
    await stream.send(b"\x00\xff" * 20_000)


async def hangs_up(stream: TLSStream) -> None:
    """Answer half of what it promises."""
    await stream.receive()
    await stream.send(OK % (16384, b"half"))


class FalseCache:
    """A server at a free port.

    Args:
        pair: Key and certificate that it shows, in one file.
        ca: Whose certificates it asks visitors for.
        answer: What it does on each connection.
    """

    def __init__(self, pair: Path, ca: Path, answer: Answer) -> None:
        self._answer = answer
        self.visitors: list[bytes | None] = []
        """The certificates that were shown to it."""
        self.refusals = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair)
        self._context.load_verify_locations(ca)
        self._context.verify_mode = ssl.CERT_OPTIONAL

    async def serve(self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the port."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            task_status.started(listener.extra_attributes[SocketAttribute.local_port]())
            await listener.serve(self._welcome)

    async def _welcome(self, raw: SocketStream) -> None:
        async with raw:
            try:
                stream = await TLSStream.wrap(
                    raw, server_side=True, ssl_context=self._context, standard_compatible=False
                )
                self.visitors.append(stream.extra_attributes[TLSAttribute.peer_certificate_binary]())
                await self._answer(stream)
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                self.refusals += 1
