"""What HTTP alone costs on this machine: asyncio.Protocol, httptools and uvloop, the JSON read, a fixed answer.

`serving` runs it beside the servers, as absolute figures differ between machines: it took 28 us a request where the
goals were set. It prints the port that it listens on.
"""

import asyncio
import json
import sys
from typing import cast

import httptools
import uvloop

BODY = json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 10], "data": [0.1] * 10}]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Floor(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, and no subclass
        self._parser, self._body = httptools.HttpRequestParser(self), b""

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        json.loads(self._body)
        self._body = b""
        self._transport.write(ANSWER)


async def main() -> None:
    """Listen, say where, and serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
