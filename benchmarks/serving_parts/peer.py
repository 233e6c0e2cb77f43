"""MLServer and LitServe, each in an environment of its own, with the same ONNX file through a small custom runtime."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

# With a newer uvloop MLServer's worker processes end at their start.
PINS = ("mlserver==1.7.1", "onnxruntime==1.32.0", "uvloop==0.21.0")
NAMES = {1: "MLServer 1.7.1 as installed (one worker process)", 0: "MLServer 1.7.1 with parallel_workers = 0"}
"""The peer's forms by their number of worker processes."""
TWO_WORKERS = "MLServer 1.7.1 with parallel_workers = 2"
LIT_PINS = ("litserve==0.2.19", "onnxruntime==1.32.0")
LIT_NAME = "LitServe 0.2.19 as installed (one worker process)"
START_TIMEOUT_S = 90.0
RUNTIME_FOLDER = Path(__file__).parent / "mlserver_runtime"
LIT_SERVER = Path(__file__).parent / "litserve_runtime" / "server.py"


def install_peer(folder: Path, pins: tuple[str, ...] = PINS) -> Path:
    """Make the environment once, about 2 minutes; return its folder."""
    stamp = folder / "pins.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(pins):
        print(f"installing {', '.join(pins)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *pins], check=True, stdout=sys.stderr)
        stamp.write_text(json.dumps(pins))
    return folder


@contextmanager
def running_litserve(
    environment: Path, folder: Path, model_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run LitServe; gives its main process and HTTP port."""
    folder.mkdir()
    [port] = _free_ports(1)
    with (folder / "litserve.log").open("wb") as log:
        process = subprocess.Popen(
            [environment / "bin" / "python", LIT_SERVER, model_path, str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health", process, folder / "litserve.log")
        yield process, port
    finally:
        process.terminate()
        process.wait(timeout=30)
        with suppress(ProcessLookupError):  # its processes can outlive it, and would be measured with what comes next
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def running_peer(
    environment: Path, folder: Path, model_path: Path, workers: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run MLServer with so many worker processes; gives its main process and HTTP port."""
    folder.mkdir()
    http, grpc, metrics = _free_ports(3)
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": workers,
        "debug": False,
    }
    model = {"name": "digits", "implementation": "onnx_runtime.OnnxModel", "parameters": {"uri": str(model_path)}}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    environ = {**os.environ, "PYTHONPATH": str(RUNTIME_FOLDER)}
    with (folder / "mlserver.log").open("wb") as log:
        process = subprocess.Popen(
            [environment / "bin" / "mlserver", "start", folder], stdout=log, stderr=subprocess.STDOUT, env=environ
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{http}/v2/models/digits/ready", process, folder / "mlserver.log")
        yield process, http
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urlopen(url, timeout=2):  # noqa: S310 - on loopback
                return
        except (URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                msg = f"starting {url}: {error}; its log says: {log.read_text()[-500:]}"
                raise RuntimeError(msg) from error
        time.sleep(0.1)
