"""A real hub as its operators start it: `shoal hub up` on a data folder of its own and free ports."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from shoal_client import ShoalClient
from shoal_client.profile import read_profile

START_S = 60.0


class HubProcess:
    """`shoal hub up`; its log goes to `<folder>/hub.log`. `settings` are more of its variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "hub"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "SHOAL_DATA": str(self.data),
            "SHOAL_PROFILE": str(folder / "profile.json"),
            "SHOAL_PUBLIC_HOST": "127.0.0.1",
            "SHOAL_API_HOST": "127.0.0.1",
            "SHOAL_BROKER_HOST": "127.0.0.1",
            "SHOAL_API_PORT": "0",
            "SHOAL_BROKER_PORT": "0",
            **settings,
        }

    def start(self) -> "HubProcess":
        """Start it and wait until every part serves."""
        self.begin()
        try:
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def begin(self) -> None:
        """Start it and wait for nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.data / "run" / "ready").unlink(missing_ok=True)  # of a hub that was killed
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shoal_hub", "hub", "up"], stdout=log, stderr=log, env=self.environment
            )

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + START_S
        while not (self.data / "run" / "ready").exists():
            assert self.process is not None
            assert self.process.poll() is None, f"the hub ended: {self.log()[-3000:]}"
            assert time.monotonic() < deadline_s, f"the hub is not ready: {self.log()[-3000:]}"
            time.sleep(0.05)

    def client(self) -> ShoalClient:
        """Log in as the operator whose profile the hub wrote."""
        return ShoalClient.from_profile(read_profile(self.folder / "profile.json"))

    @property
    def url(self) -> str:
        """The API's address."""
        return read_profile(self.folder / "profile.json").url

    def kill(self, part: str) -> None:
        """End one part as a crash would: `ingest`, `controller`, `api`, `broker`, or `all` but the broker."""
        assert self.process is not None
        if part == "all":
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(START_S)
            return
        os.kill(self.pid_of(part), signal.SIGKILL)

    def pid_of(self, part: str) -> int:
        """Return the process of one part: `supervisor`, `ingest`, `controller`, `api` or `broker`."""
        assert self.process is not None
        if part == "supervisor":
            return self.process.pid
        wanted = "mosquitto" if part == "broker" else f"processes {part}"
        pids = [pid for pid in _descendants(self.process.pid) if wanted in _command(pid)]
        assert pids, f"no process of the hub is its {part}: {[_command(one) for one in _descendants(self.process.pid)]}"
        return pids[0]

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)

    def close(self) -> None:
        """Leave nothing running, a broker that outlived its hub included."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        pid_file = self.data / "broker" / "mosquitto.pid"
        if pid_file.exists() and str(self.data) in _command(pid := int(pid_file.read_text())):
            os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        return (self.folder / "hub.log").read_text()


def _descendants(pid: int) -> list[int]:
    children = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return [*children, *(below for child in children for below in _descendants(child))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
