"""A real Redis on a free port, and the library for it in an environment of its own, where this one has none."""

import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from tests.environments import ROOT, environment

START_S = 10.0
REQUIREMENTS = ("redis==8.1.0", "async-timeout==5.0.1")


def library() -> list[str]:
    """Return the folders to look for the library in; none where it is installed here."""
    if find_spec("redis") is not None:
        return []
    python = environment("redis", *REQUIREMENTS)
    return [str(path) for path in (python.parents[1] / "lib").glob("python*/site-packages")]


def use_library() -> None:
    """Have this process find the library."""
    sys.path += [path for path in library() if path not in sys.path]


class RedisProcess:
    """`redis-server` without anything on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "RedisProcess":
        """Start it and wait until it answers."""
        program = shutil.which("redis-server") or shutil.which("redis-server", path=ROOT / ".cache" / "bin")
        assert program is not None, "no redis-server here; install it: scripts/setup test"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline_s, "redis-server does not answer"
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                    asked.sendall(b"PING\r\n")
                    if asked.recv(7) == b"+PONG\r\n":
                        return self
            except OSError:
                time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)
