"""The owner's program that takes out of a sample what nobody shall see: .npz on its input, .npz on its output.

Without its answer, in time and of the right form, nothing is kept.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from shoal_agent.capture.archive import from_npz, to_npz
from shoal_agent.capture.errors import CaptureError

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END_S: Final = 5.0
_REMEDY: Final = "try it by hand: redactor < sample.npz > redacted.npz"


async def redact(command: Sequence[str], sample: bytes, timeout_s: float, max_bytes: int) -> bytes:
    """Return a sample as the owner's program gives it back, written anew from the arrays that are in it.

    The program runs as the agent's user with PATH, HOME and LANG, in a session of its own that ends with it.

    Args:
        command: Program and arguments.
        sample: .npz.
        timeout_s: From its start to its end.
        max_bytes: Of what it writes, and of the arrays in that.

    Raises:
        CaptureError: It can not be started, fails, takes too long, or gives back no .npz of numbers.
    """
    doing = f"redacting a sample by {command[0]}"
    environment = {"PATH": _PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    try:
        process = await anyio.open_process(
            list(command), stderr=subprocess.DEVNULL, env=environment, cwd="/", start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise CaptureError(f"{doing}: starting it: {error}", "name the program by its full path") from error
    status: int | None = None
    written = bytearray()
    try:
        with anyio.move_on_after(timeout_s):
            status = await _converse(process, sample, written, max_bytes)
    finally:
        with anyio.move_on_after(_END_S, shield=True):
            await _end(process)
    if len(written) > max_bytes:
        raise CaptureError(f"{doing}: more than {max_bytes} bytes came back", _REMEDY)
    if status != 0:
        found = f"not done after {timeout_s:g} s" if status is None else f"exit status {status}"
        raise CaptureError(f"{doing}: {found}, exit status 0 expected", _REMEDY)
    return to_npz(from_npz(bytes(written), max_bytes))


async def _converse(process: Process, sample: bytes, written: bytearray, max_bytes: int) -> int | None:
    """Write the sample and read the answer, both at once; return the exit status, None where too much came."""
    if process.stdin is None or process.stdout is None:
        return None
    async with anyio.create_task_group() as group:
        group.start_soon(_feed, process, sample)
        await _read(process.stdout, written, max_bytes)
        if len(written) > max_bytes:
            group.cancel_scope.cancel()
            return None
    return await process.wait()


async def _feed(process: Process, sample: bytes) -> None:
    if process.stdin is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it may have read as much as it wanted
            await process.stdin.send(sample)
        await process.stdin.aclose()


async def _read(stream: ByteReceiveStream, written: bytearray, max_bytes: int) -> None:
    async for part in stream:
        written += part
        if len(written) > max_bytes:
            return


async def _end(process: Process) -> None:
    """End the whole session of the program: what it has started must not outlive it."""
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()
