"""A Ray of its own with a dashboard, on loopback, for tests that need a cluster which is there before and after."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shoal_training.launchers.ray_cluster import Share, ray_environment

_PROGRAM = """
import json, sys
import ray
from shoal_training.launchers.ray_cluster import patient
with patient():
    context = ray.init(
        address="local", num_cpus=2, object_store_memory=128 * 1024 * 1024, include_dashboard=True, dashboard_port=0,
        _node_ip_address="127.0.0.1", _temp_dir=sys.argv[1], logging_level="WARNING",
    )
print(json.dumps([context.address_info["gcs_address"], "http://" + context.dashboard_url]), flush=True)
sys.stdin.read()
"""


class RayHead(NamedTuple):
    """Where it is."""

    address: str
    dashboard: str
    environment: dict[str, str]
    """That a process needs to be let in."""


@contextmanager
def running_ray() -> Iterator[RayHead]:
    """Run one; it ends with the context."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with (
        tempfile.TemporaryDirectory(prefix="shoal-ray-", ignore_cleanup_errors=True) as folder,
        _started(folder, secret) as (process, log),
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_bytes().decode(errors="replace")[-4000:]
        address, dashboard = json.loads(line)
        yield RayHead(address, dashboard, secret)
        process.stdin.close()
        process.wait(60)


@contextmanager
def _started(folder: str, secret: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    paths = os.pathsep.join(one for one in sys.path if one)
    usual = {**ray_environment(Share()), **secret, "PYTHONPATH": paths}
    log = Path(folder) / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | usual,
        ) as process,
    ):
        yield process, log
