"""A real agent as a process of its own, for tests that start, kill and ask it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

START_S = 30.0
LOG_S = 20.0


class AgentProcess:
    """`shoal-agent run` on a data folder; its log goes to `<data>/agent.log`. A `quick` one waits less, see there.

    `clock_error` is how wrong a quick one's clock is at its next start; `environment` are more variables of it.
    `within` is a command that runs another one, and runs this one. `program` stands in for the quick one's module, and
    `python` for this Python.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        is_quick: bool = False,
        within: Sequence[str] = (),
        program: str = "",
        python: str = sys.executable,
    ) -> None:
        self.data = data
        self.clock_error = timedelta()
        self.environment: dict[str, str] = {}
        run = ("shoal_agent", "run", "--data", str(data), "--port", "0", *options)
        quick = (program or "tests.simulators.quick_agent", str(data))
        self._is_quick = is_quick
        self._command = [*within, python, "-m", *(quick if is_quick or program else run)]
        self.process: subprocess.Popen[bytes] | None = None
        self.device_id = ""

    def start(self) -> "AgentProcess":
        """Start it and wait until its endpoint answers."""
        self.begin()
        try:
            self.wait_until_live()
        except BaseException:
            self.close()
            raise
        return self

    def begin(self) -> None:
        """Start it and wait for nothing."""
        (self.data / "run" / "endpoint.json").unlink(missing_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        clock = [str(self.clock_error.total_seconds())] if self._is_quick else []
        with (self.data / "agent.log").open("ab") as log:
            variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.environment}
            self.process = subprocess.Popen([*self._command, *clock], stderr=log, env=variables)

    def wait_until_live(self) -> None:
        deadline_s = time.monotonic() + START_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None, f"the agent ended: {self.log()[-2000:]}"
            assert time.monotonic() < deadline_s, f"the agent does not answer: {self.log()[-2000:]}"
            if (self.data / "run" / "endpoint.json").exists() and self.ask("/v2/health/live")[0] == 200:
                return
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(START_S)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def wait_for_log(self, text: str) -> None:
        """Wait until it has logged a text."""
        deadline_s = time.monotonic() + LOG_S
        while text not in self.log():
            assert time.monotonic() < deadline_s, self.log()[-3000:]
            time.sleep(0.05)

    def log(self) -> str:
        return (self.data / "agent.log").read_text()

    def ask(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Call the local endpoint; return status and JSON, or 0 where nothing answers."""
        url = self.url
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(url + path, data, dict(headers or {}))  # noqa: S310
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, None

    @property
    def url(self) -> str:
        """Where it answers this device's programs."""
        return str(json.loads((self.data / "run" / "endpoint.json").read_text())["url"])

    def serves(self, model: str) -> int | None:
        """Return the version of `model` that answers now."""
        status, body = self.ask(f"/v2/models/{model}")
        return int(body["versions"][0]) if status == 200 else None
