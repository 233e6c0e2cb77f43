"""One attempt of a probe: a program with a clean environment, or an HTTP request that stays on the LAN."""

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import anyio
from anyio import to_thread
from anyio.abc import Process

from shoal_agent.errors import ProbeSetupError
from shoal_agent.near_address import nearest_of

MAX_OUTPUT_BYTES: Final = 2048
"""What is kept of an attempt's output; the rest is read and thrown away."""
MAX_SAID_CHARS: Final = 400
"""What the report has of it: its end, where programs tell what was wrong."""
_END_S: Final = 5.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class ProbeAnswer:
    """How one attempt ended."""

    has_passed: bool
    detail: str


async def execute(name: str, command: Sequence[str], timeout_s: float, facts: Mapping[str, str]) -> ProbeAnswer:
    """Run a program as the agent's user; it passes with exit status 0.

    It gets PATH, HOME, LANG and `facts`, no input and no shell, in a session of its own that ends with the attempt.

    Raises:
        ProbeSetupError: It can not be started at all.
    """
    environment = {"PATH": _PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8", **facts}
    try:
        process = await anyio.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProbeSetupError(f"probe {name!r}: starting {command[0]}: {error}") from error
    said = bytearray()
    status: int | None = None
    try:
        with anyio.move_on_after(timeout_s):
            status = await _finish(process, said)
    finally:
        with anyio.move_on_after(_END_S, shield=True):  # one that a disk holds up does not hold up the agent
            await _end(process)
    what = f"not done after {timeout_s:g} s" if status is None else f"exit status {status}"
    return ProbeAnswer(status == 0, f"{what}{_said(bytes(said))}")


async def ask(
    name: str, url: str, method: str, body: str, content_type: str, status: int, timeout_s: float
) -> ProbeAnswer:
    """Send one request; it passes with the expected status. No redirect is followed.

    Raises:
        ProbeSetupError: The address is none, or lies beyond this device and its LAN, or what is to be sent is none of
            HTTP.
    """
    try:
        return await _ask(name, url, method, body, content_type, status, timeout_s)
    except ValueError as error:  # of a name, a path or a header that can not be sent at all
        raise ProbeSetupError(f"probe {name!r}: {method} {url[:200]!r}: {error}") from error


def parse_address(url: str) -> SplitResult:
    """Return the parts of a probe's address.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(url)
    is_plain = all("!" <= one <= "~" for one in url)
    if parts.scheme != "http" or not parts.hostname or not is_plain or parts.port == 0:
        msg = f"{url[:200]!r} found, an address http://host:port/path in ASCII expected"
        raise ValueError(msg)
    return parts


async def _ask(
    name: str, url: str, method: str, body: str, content_type: str, status: int, timeout_s: float
) -> ProbeAnswer:
    parts = parse_address(url)
    address = await _near_address(name, str(parts.hostname), parts.port or http.client.HTTP_PORT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc.rpartition("@")[2], "Connection": "close"}
    if method == "POST":
        headers["Content-Type"] = content_type
    send = partial(_request, address, method, target, body.encode() if method == "POST" else None, headers, timeout_s)
    try:
        with anyio.fail_after(timeout_s):
            found, said = await to_thread.run_sync(send, abandon_on_cancel=True)
    except TimeoutError:
        return ProbeAnswer(has_passed=False, detail=f"no answer within {timeout_s:g} s")
    except (OSError, http.client.HTTPException) as error:
        return ProbeAnswer(has_passed=False, detail=f"{method} {url[:200]}: {error}")
    return ProbeAnswer(found == status, f"HTTP status {found}, {status} expected{_said(said)}")


def _request(
    address: tuple[str, int], method: str, target: str, body: bytes | None, headers: dict[str, str], timeout_s: float
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_OUTPUT_BYTES)
    finally:
        connection.close()


async def _near_address(name: str, host: str, port: int) -> tuple[str, int]:
    """Return an address of the host that lies on this device or its LAN; that very one is then connected to."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ProbeSetupError(f"probe {name!r}: finding {host[:100]}: {error}") from error
    address = nearest_of(found)
    if address is None:
        raise ProbeSetupError(f"probe {name!r}: {host[:100]} lies beyond this device and its LAN")
    return address, port


async def _finish(process: Process, said: bytearray) -> int:
    """Read what a program says to its end, keeping the last of it, and return its exit status."""
    if process.stdout is not None:
        async for part in process.stdout:
            said += part
            del said[:-MAX_OUTPUT_BYTES]
    return await process.wait()


async def _end(process: Process) -> None:
    """End the whole session of a program: what it has started must not outlive it."""
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()


def _said(output: bytes) -> str:
    text = " ".join(output.decode(errors="replace").split())
    shown = "".join(one if one.isprintable() else " " for one in text)[-MAX_SAID_CHARS:]
    return f"; it said: {shown}" if shown else ""
