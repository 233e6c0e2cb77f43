"""Lines of a serial device, by termios alone: raw, eight bits, no parity, one stop bit."""

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from typing import Final

import anyio

from shoal_agent.features.errors import UnreachableError
from shoal_agent.features.sources.source import Inbox
from shoal_contract.features import SerialSource
from shoal_numerics.features.events import Arrival

_PART_BYTES: Final = 4096
_MAX_LINE_BYTES: Final = 64 * 1024


class SerialLines:
    """Takes whole lines of a serial device as they come.

    Args:
        declared: Which device, and how fast.
        clock_ns: The time of what comes.
    """

    def __init__(self, declared: SerialSource, clock_ns: Callable[[], int]) -> None:
        self._declared = declared
        self._clock_ns = clock_ns
        self._rest = b""

    async def run(self, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Put lines into `inbox`.

        Raises:
            UnreachableError: The device is not there, is none, or has gone.
        """
        descriptor = self._open()
        loop, has_ended = asyncio.get_running_loop(), anyio.Event()
        problem: list[OSError] = []

        def read() -> None:
            try:
                data = os.read(descriptor, _PART_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                problem.append(error)
                data = b""
            if not data:
                has_ended.set()
                loop.remove_reader(descriptor)
            self._take(data, inbox)

        loop.add_reader(descriptor, read)
        on_ready()
        try:
            await has_ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        said = problem[0].strerror if problem else "it has hung up"
        raise UnreachableError(f"reading {self._declared.path}: {said}", "check the cable; the agent tries again")

    def _open(self) -> int:
        path = self._declared.path
        remedy = "check the device's name, and that the agent's user is in the group dialout"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise UnreachableError(f"opening {path}: {error.strerror}", remedy) from error
        try:
            tty.setraw(descriptor)
            found = termios.tcgetattr(descriptor)
            found[2] |= termios.CLOCAL | termios.CREAD  # no modem's lines are needed
            found[4] = found[5] = getattr(termios, f"B{self._declared.baud}")
            termios.tcsetattr(descriptor, termios.TCSANOW, found)
        except (termios.error, OSError) as error:
            os.close(descriptor)
            raise UnreachableError(f"setting {path} to {self._declared.baud} baud: {error}", remedy) from error
        return descriptor

    def _take(self, data: bytes, inbox: Inbox) -> None:
        lines, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest if len(rest) <= _MAX_LINE_BYTES else b""  # an endless line is no event
        if newline:
            inbox.put([Arrival(lines, self._clock_ns())])
