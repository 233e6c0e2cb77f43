"""The processes of the demo: one hub and its agents, each as an operator would start it."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from typing_extensions import Self

from shoal_client import ShoalClient
from shoal_client.profile import read_profile

START_S = 60.0
STOP_S = 20.0
REPORT_WAIT_S = 30.0


@dataclass
class Agent:
    """One agent: its data folder, its process and its id."""

    name: str
    data: Path
    runtime: str
    process: "subprocess.Popen[bytes]"
    device_id: str

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Call the agent's own Open Inference Protocol endpoint.

        Raises:
            RuntimeError: It refused or does not answer.
        """
        url = urlsplit(json.loads((self.data / "run" / "endpoint.json").read_text())["url"])
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"{self.name} answered {response.status} to {path}: {answer}")
        return answer

    def predict(self, x: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Send each image (8, 8, 1) of x (n, 8, 8, 1) as a request; return labels (n,) and latencies (n,) in ms."""
        labels, latencies = [], []
        for image in x:
            tensor = {"name": "image", "datatype": "FP32", "shape": [1, *image.shape], "data": image.ravel().tolist()}
            started = time.perf_counter()
            answer = self.ask("/v2/models/digits/infer", {"inputs": [tensor]})
            latencies.append((time.perf_counter() - started) * 1000)
            labels.append(int(np.argmax(answer["outputs"][0]["data"])))
        return np.array(labels), np.array(latencies)


class Fleet:
    """Starts and ends everything; also a context manager.

    Args:
        folder: Where all data and logs go.
        keep: Leave hub and agents running at the end.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self.folder = folder
        self.agents: list[Agent] = []
        self._keep = keep
        self._hub: subprocess.Popen[bytes] | None = None
        self._has_failed = False
        self._environment = {
            **os.environ,
            "SHOAL_DATA": str(folder / "hub"),
            "SHOAL_PROFILE": str(folder / "profile.json"),
            "SHOAL_PUBLIC_HOST": "127.0.0.1",
            "SHOAL_API_HOST": "127.0.0.1",
            "SHOAL_BROKER_HOST": "127.0.0.1",
            "SHOAL_API_PORT": "0",
            "SHOAL_BROKER_PORT": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keep and not self._has_failed and kind is None:
            return
        for process in [*(agent.process for agent in self.agents), self._hub]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [*(agent.process for agent in self.agents), self._hub]:
            if process is not None:
                _reap(process)
        if not self._has_failed and kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep_logs(self) -> None:
        """Leave the folder for a look at what went wrong."""
        self._has_failed = True

    def say_goodbye(self, console: Console) -> None:
        """Tell where everything runs."""
        profile = read_profile(self.folder / "profile.json")
        console.print(f"\nthe hub and {len(self.agents)} agents keep running; console: [bold]{profile.url}[/]")
        console.print(f"log in with the token in {self.folder / 'profile.json'}")
        console.print(f"CLI: export SHOAL_PROFILE={self.folder / 'profile.json'}; shoal devices list")
        pids = " ".join(str(one.pid) for one in [*(agent.process for agent in self.agents), self._hub] if one)
        console.print(f"stop everything: kill {pids}; rm -r {self.folder}")

    def start_hub(self) -> ShoalClient:
        """Start `shoal hub up` and wait until it is ready.

        Raises:
            RuntimeError: It ended or did not get ready.
        """
        self._hub = self._start("hub", ["-m", "shoal_hub", "hub", "up"])
        _wait((self.folder / "hub" / "run" / "ready").exists, self._hub, self.folder / "hub.log")
        return ShoalClient.from_profile(read_profile(self.folder / "profile.json"))

    def shoal(self, *arguments: str) -> str:
        """Run the operators' CLI and return what it printed."""
        return self._run(["-m", "shoal_hub", *arguments])

    def follow(self, module: str, *arguments: str) -> Iterator[dict[str, Any]]:
        """Run a program of `shoal_training` and yield its JSON lines as they come.

        Raises:
            RuntimeError: It failed; the error holds its log's end.
        """
        log_path = self.folder / "training.log"
        with (
            log_path.open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
            ) as process,
        ):
            try:
                for line in process.stdout or ():
                    yield json.loads(line)
            except BaseException:  # whoever follows it has had enough, and it would go on
                process.terminate()
                raise
        if process.returncode:
            raise RuntimeError(f"{module} failed:\n{log_path.read_text()[-2000:]}")

    def add_agent(self, name: str, runtime: str, token: str, url: str) -> Agent:
        """Enrol an agent with a token and start it; without a runtime it has all that are installed."""
        data = self.folder / name
        enrol = ["-m", "shoal_agent", "enrol", "--data", str(data), "--hub", url, "--name", name, "--json"]
        device_id = json.loads(self._run(enrol, {"SHOAL_TOKEN": token}))["device_id"]
        only = ["--runtime", runtime] if runtime else []
        run = ["-m", "shoal_agent", "run", "--data", str(data), "--port", "0", *only]
        agent = Agent(name, data, runtime, self._start(name, run), device_id)
        self.agents.append(agent)
        return agent

    def wait_for_agents(self) -> None:
        """Wait until every agent answers."""
        for agent in self.agents:
            endpoint = agent.data / "run" / "endpoint.json"
            _wait(endpoint.exists, agent.process, self.folder / f"{agent.name}.log")

    def wait_for_reports(self, client: ShoalClient, dataset: str = "") -> None:
        """Wait until each agent has told the hub what it is, and that it has `dataset`.

        Raises:
            RuntimeError: One has not.
        """
        deadline_s = time.monotonic() + REPORT_WAIT_S
        waiting = list(self.agents)
        while waiting:
            reports = {one.device_id: client.devices.show(one.device_id).reported or {} for one in waiting}
            waiting = [one for one in waiting if not _is_told(reports[one.device_id], dataset)]
            if waiting and time.monotonic() > deadline_s:
                raise RuntimeError(f"{waiting[0].name} did not report within {REPORT_WAIT_S:.0f} s")
            time.sleep(0.1 if waiting else 0)

    def add_data(self, agent: Agent, name: str, x: NDArray[np.float32], y: NDArray[np.int32]) -> str:
        """Put labelled examples on a device; they stay there."""
        file = self.folder / f"{agent.name}-{name}.npz"
        np.savez(file, x=x, y=y)
        text = self._run(["-m", "shoal_agent", "data", "add", "--data", str(agent.data), name, str(file)])
        file.unlink()
        return text.strip()

    def _start(self, name: str, arguments: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def _run(self, arguments: list[str], extra: dict[str, str] | None = None) -> str:
        environment = self._environment | (extra or {})
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments[:5])} failed:\n{done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def _is_told(report: dict[str, Any], dataset: str) -> bool:
    return bool(report.get("targets")) and (not dataset or report.get("datasets", {}).get(dataset, 0) > 0)


def _wait(holds: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"a process did not start; its log ends:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def _reap(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
