"""One worker process as its parent sees it: starts it, tells it what is wanted, hears how it is, ends it."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from logging import getLogger
from typing import Final

import anyio
from pydantic import ValidationError

from shoal_agent.endpoint.handed import hand_over
from shoal_agent.standalone.plan import Said, Wanted, WorkerPlan

_PROGRAM: Final = "shoal_agent.standalone.worker"
_STOP_S: Final = 15.0
"""How long a worker may take to end: requests in flight have five seconds of that."""
_log = getLogger(__name__)


class Child:
    """A worker that runs.

    Attributes:
        own_port: Where it tells how it is; 0 until it serves.
        models: Hashes of the manifests that it serves, by model.
    """

    def __init__(self, plan: WorkerPlan, process: asyncio.subprocess.Process, channel: socket.socket | None) -> None:
        self.plan = plan
        self.own_port = 0
        self.models: dict[str, str] = {}
        self._process = process
        self._channel = channel
        self._is_stopping = False

    @classmethod
    async def start(cls, plan: WorkerPlan) -> "Child":
        """Start a worker, and tell it who it is."""
        with ExitStack() as unless_started, ExitStack() as given:
            ours, theirs = _channel(unless_started, given) if plan.socket is not None else (None, None)
            plan = plan.model_copy(update={"handed": theirs and theirs.fileno()})
            process = await cls._begin(() if theirs is None else (theirs.fileno(),))
            unless_started.pop_all()
        child = cls(plan, process, ours)
        child._write(plan.model_dump_json())
        return child

    @staticmethod
    async def _begin(pass_fds: tuple[int, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent, which then lets requests in flight end
            pass_fds=pass_fds,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def want(self, wanted: Wanted) -> None:
        """Say what is to be served from now on."""
        self._write(wanted.model_dump_json())

    async def listen(self, hear: Callable[["Child", Said], None]) -> int:
        """Hear what it says until it has ended; return its exit status."""
        try:
            while line := await self._process.stdout.readline() if self._process.stdout else b"":
                try:
                    said = Said.model_validate_json(line)
                except ValidationError:
                    _log.warning("worker %d said %r, which is not understood", self.plan.number, line[:200])
                    continue
                if said.kind == "serves" and not self._is_stopping:
                    self.models, self.own_port = said.models, said.own_port
                hear(self, said)
        finally:
            self._close_channel()
        return await self._process.wait()

    def hand_over(self, connection: socket.socket) -> bool:
        """Give it a connection of the Unix-domain socket; return whether it takes it."""
        return self._channel is not None and hand_over(self._channel, connection)

    async def stop(self) -> None:
        """Have it end once what is in flight is answered; a worker that does not is killed.

        No connection goes to it any more; those that were handed over have come before it learns of its end.
        """
        self._is_stopping, self.own_port = True, 0
        self._close_channel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with anyio.move_on_after(_STOP_S):
            await self._process.wait()
            return
        _log.warning("worker %d does not end; it is killed", self.plan.number)
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _write(self, line: str) -> None:
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode() + b"\n")


def _channel(unless_started: ExitStack, given: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return the parent's end, and the worker's, which is closed here once the worker has it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return unless_started.enter_context(ours), given.enter_context(theirs)
