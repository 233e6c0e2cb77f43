"""A worker's channel: closed once no connection is to go to it, and where it does not start or is not understood."""

import asyncio
import socket
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from shoal_agent.standalone.child import Child
from shoal_agent.standalone.plan import WorkerPlan
from shoal_agent.standalone.shared_socket import SharedSocket

pytestmark = pytest.mark.anyio
UNTIL_THE_CHANNEL_ENDS = "import socket, sys; sys.exit(len(socket.socket(fileno=int(sys.argv[1])).recv(1)))"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _plan(tmp_path: Path) -> WorkerPlan:
    return WorkerPlan(
        number=1,
        data=tmp_path,
        port=0,
        threads=1,
        engine_threads=1,
        request_timeout_s=5,
        socket=tmp_path / "asked",
    )


async def _child(tmp_path: Path, program: str) -> Child:
    """Start a program in place of a worker; it gets its end of the channel as an argument."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", program, str(theirs.fileno())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
    return Child(_plan(tmp_path), process, ours)


def _hand_over(child: Child) -> bool:
    one, other = socket.socketpair()
    with one, other:
        return child.hand_over(one)


def _sockets() -> int:
    folder = Path("/proc/self/fd")
    return sum(one.is_symlink() and str(one.readlink()).startswith("socket:") for one in folder.iterdir())


async def test_a_worker_that_is_stopped_is_told_by_the_end_of_its_channel_and_gets_nothing_more(tmp_path: Path) -> None:
    child = await _child(tmp_path, UNTIL_THE_CHANNEL_ENDS)
    child.own_port = 1
    with anyio.fail_after(10):  # less than what it has before it is killed
        async with anyio.create_task_group() as group:
            group.start_soon(child.stop)
            await anyio.lowlevel.checkpoint()
            assert (child.own_port, _hand_over(child)) == (0, False)
        assert await child.listen(lambda *_: None) == 0


async def test_what_a_worker_says_while_it_is_stopped_does_not_make_it_serve(tmp_path: Path) -> None:
    program = """import sys; sys.stdin.read(); print('{"kind":"serves","own_port":7}', flush=True)"""
    child = await _child(tmp_path, program)
    heard = []
    with anyio.fail_after(10):
        await child.stop()
        await child.listen(lambda _, said: heard.append(said.own_port))
    assert (heard, child.own_port) == ([7], 0)


async def test_a_worker_that_does_not_start_leaves_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    before = _sockets()
    with pytest.raises(FileNotFoundError) as failed:
        await Child.start(_plan(tmp_path))
    assert _sockets() == before, failed


async def test_the_channel_ends_with_what_can_not_be_heard(tmp_path: Path) -> None:
    child = await _child(tmp_path, f"print('x' * 100_000, flush=True); {UNTIL_THE_CHANNEL_ENDS}")
    with anyio.fail_after(10):
        with pytest.raises(ValueError, match="limit"):
            await child.listen(lambda *_: None)
        assert not _hand_over(child)
        await child.stop()


async def test_who_has_connected_is_handed_over_when_the_socket_is_closed(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    theirs.setblocking(False)  # noqa: FBT003 - as the socket has it
    with ours, theirs, anyio.fail_after(10):
        shared = SharedSocket(tmp_path / "asked", lambda: [Child(_plan(tmp_path), process, ours)])
        async with anyio.create_task_group() as group:
            group.start_soon(shared.accept)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(tmp_path / "asked"))
            shared.close()
            assert not (tmp_path / "asked").exists()
            [handed] = socket.recv_fds(theirs, 1, 1)[1]
            with socket.socket(fileno=handed) as connection:
                connection.sendall(b"answer")
            assert peer.recv(9) == b"answer"
