"""A large artifact up and down by MLflow's own client: through the hub, and through MLflow's own server.

Run as `python benchmarks/artifact_io.py [--full]`; prints JSON lines. `--full` sends 1 GB; the short run 256 MB, and
leaves open whether the goals hold. The hub answers over HTTPS, as it does; MLflow's server over HTTP, as it comes.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("contract", "numerics", "agent", "hub", "compression", "training", "client", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts.lines import line  # noqa: E402 - after the path
from serving_parts.peer import install_peer  # noqa: E402 - after the path
from tests.simulators.hub_process import HubProcess  # noqa: E402 - after the path

from shoal_client.profile import read_profile  # noqa: E402 - after the path

PINS: Final = ("mlflow==3.17.2",)
PEER: Final = "MLflow 3.17.2, mlflow server --serve-artifacts --workers 1"
CLIENT: Final = Path(__file__).parent / "artifact_parts" / "client.py"
MEGABYTE: Final = 2**20
GOAL: Final = 5.0
GROWTH_GOAL_MB: Final = 100.0
START_S: Final = 240.0
CALL_S: Final = 900.0
_SAMPLED_S: Final = 0.05


class Served(NamedTuple):
    """A server: what its clients need to know, and its processes."""

    environment: dict[str, str]
    pids: Callable[[], list[int]]


class Taken(NamedTuple):
    """What one turn took, and by how much the server's resident memory grew at most."""

    up_s: float
    down_s: float
    growth_mb: float


def main() -> None:
    """Measure both in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="send 1 GB instead of 256 MB")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each, ours and the peer's")
    options = parser.parse_args()
    megabytes = 1024 if options.full else 256
    environment = install_peer(ROOT / ".cache" / "bench" / "mlflow-server", PINS)
    with tempfile.TemporaryDirectory(prefix="artifact-io-") as name:
        folder = Path(name)
        path = _file(folder / "large.bin", megabytes)
        ours: list[Taken] = []
        peers: list[Taken] = []
        for number in range(options.rounds):
            with _hub(folder / f"hub{number}") as hub:
                ours.append(_turn(hub, path, folder / "fetched"))
            with _peer(environment, folder / f"peer{number}") as peer:
                peers.append(_turn(peer, path, folder / "fetched"))
    _report(ours, peers, megabytes, is_full=options.full)


def _report(ours: list[Taken], peers: list[Taken], megabytes: int, *, is_full: bool) -> None:
    for name, took in (
        ("up", lambda one: one.up_s),
        ("down", lambda one: one.down_s),
        ("up_and_down", lambda one: one.up_s + one.down_s),
    ):
        mine, theirs = (statistics.median(map(took, some)) for some in (ours, peers))
        ratio = theirs / mine
        holds = ratio >= GOAL if is_full else None
        line(
            f"artifact_io_{name}",
            "s",
            mine,
            theirs,
            PEER,
            len(ours),
            f"at least {GOAL:g} times as fast, of 1 GB",
            holds,
            ratio=ratio,
            digits=2,
            megabytes=megabytes,
        )
    mine, theirs = (max(one.growth_mb for one in some) for some in (ours, peers))
    line(
        "artifact_io_memory_growth",
        "MB",
        mine,
        theirs,
        PEER,
        len(ours),
        f"under {GROWTH_GOAL_MB:g} MB, of 1 GB",
        mine < GROWTH_GOAL_MB if is_full else None,
        ratio=theirs / max(mine, 0.1),
        digits=1,
        megabytes=megabytes,
    )


def _turn(served: Served, path: Path, folder: Path) -> Taken:
    folder.mkdir(exist_ok=True)
    small = path.with_name("small.bin")
    small.write_bytes(b"x" * MEGABYTE)
    environ = (
        os.environ | served.environment | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_TIMEOUT": "900"}
    )
    _call(small, folder, environ)  # what a server loads with its first request is no growth
    with _watched(served.pids) as grown:
        took = _call(path, folder, environ)
    return Taken(took["up_s"], took["down_s"], grown() / MEGABYTE)


def _call(path: Path, folder: Path, environ: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, str(CLIENT), str(path), str(folder)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, timeout=CALL_S, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def _watched(pids: Callable[[], list[int]]) -> Iterator[Callable[[], int]]:
    """Sample the resident memory of processes; gives by how many bytes it grew at most."""
    before, most, ended = _resident(pids()), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLED_S):
            most[0] = max(most[0], _resident(pids()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(0, most[0] - before)
    finally:
        ended.set()
        thread.join()


def _resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue  # it has ended
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


@contextmanager
def _hub(folder: Path) -> Iterator[Served]:
    hub = HubProcess(folder)
    hub.begin()
    try:
        _wait_for(hub)
        profile = read_profile(folder / "profile.json")
        environ = {"MLFLOW_TRACKING_URI": profile.url, "MLFLOW_TRACKING_TOKEN": profile.token.get_secret_value()}
        if profile.ca_path is not None:
            environ["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(profile.ca_path)
        api = hub.pid_of("api")
        yield Served(environ, lambda: [api])
    finally:
        hub.close()


def _wait_for(hub: HubProcess) -> None:
    """Wait for longer than tests do: neither side is timed while it starts."""
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            hub.wait_until_ready()
        except AssertionError:
            if time.monotonic() > deadline_s:
                raise
        else:
            return


@contextmanager
def _peer(environment: Path, folder: Path) -> Iterator[Served]:
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [str(environment / "bin" / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    # One worker serves one client as well as four, and is not ended by its supervisor on a machine that is busy.
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    with (folder / "log").open("wb") as log:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environ | {"PATH": path}, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/health", process, folder / "log")
        yield Served({"MLFLOW_TRACKING_URI": url}, lambda: _family(process.pid))
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):  # its processes can outlive it, and would be measured with what comes next
            os.killpg(process.pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    try:
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        children = [int(one) for task in tasks for one in task.read_text().split()]
    except OSError:
        return []
    return [pid, *(below for child in children for below in _family(child))]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            with urlopen(url, timeout=10):  # noqa: S310 - on loopback
                return
        except (URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                msg = f"starting {url}: {error}; its log says: {log.read_text()[-800:]}"
                raise RuntimeError(msg) from error
        time.sleep(0.2)


def _file(path: Path, megabytes: int) -> Path:
    """Write a file of random bytes: nothing compresses it on the way."""
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))
    return path


if __name__ == "__main__":
    main()
