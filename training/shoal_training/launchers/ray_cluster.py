"""A cluster of Ray as a process is part of it: one that is there, or one that lives as long as the process.

A Ray that is started here listens on the loopback alone, keeps little in memory for objects (what is trained goes
through files), and tells nobody that it is used.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydantic import Field

from shoal_compression.values import Value
from shoal_training.errors import LaunchError
from shoal_training.frameworks.libraries import of_extra
from shoal_training.places import Place

ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
"""Of Ray's: set within its jobs, so that they are part of the cluster that runs them."""
OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
"""Of a Ray that is started here; at least 75 MiB, or Ray refuses to start."""
_MIB: Final = 1024 * 1024
_LOOPBACK: Final = "127.0.0.1"
_AUTO: Final = "auto"
_CONNECT_S: Final = 10.0


class RayNotStartedError(LaunchError):
    """A Ray of this machine has not come up in time."""


class Share(Value):
    """What work takes of a cluster."""

    address: str | None = Field(default=None, max_length=256, pattern=r"^(auto|[^/]+:\d{1,5})$")
    """Of a cluster that this machine is part of: `HOST:PORT`, or `auto`. Without, `$RAY_ADDRESS`, or a Ray that is
    started on this machine and ended after."""
    workers: int = Field(default=1, ge=1, le=1024)
    """That train together; a step takes `batch` samples of each."""
    cpus: int = Field(default=1, ge=1, le=1024)
    """Of each worker, and its threads."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Of each worker."""
    memory_mb: int | None = Field(default=None, ge=1)
    """MiB that each worker is given room for: a machine takes no more workers than fit. None: it is not counted."""
    retries: int = Field(default=3, ge=0, le=1000)
    """How often workers are started again after one has ended."""

    @property
    def memory_bytes(self) -> int | None:
        """The memory of each worker, as Ray counts it."""
        return None if self.memory_mb is None else self.memory_mb * _MIB

    def found_address(self) -> str | None:
        """Return the address of the cluster that is there; None: one is to be started."""
        return self.address or os.environ.get(ADDRESS_VARIABLE) or None

    def of_a_task(self) -> dict[str, Any]:
        """Return the options of a task of Ray that takes one worker's part."""
        memory = {} if self.memory_bytes is None else {"memory": self.memory_bytes}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


def share_places(share: Share) -> Iterator[Place]:
    """Yield the cluster that is named: what is sent there it has, and what comes back is unpickled."""
    if share.address is not None:
        yield Place("address", f"ray://{share.address}")


@contextmanager
def connected(share: Share, temporary: str) -> Iterator[None]:
    """Be part of a cluster; one that is started for it ends with the context, or with this process.

    Args:
        share: Names the cluster, or says how large one is to be started.
        temporary: Folder for what a Ray that is started here writes; a short path, as sockets lie in there.

    Raises:
        LaunchError: It can not be reached.
        RayNotStartedError: It can not be started.
        MissingLibraryError: Ray is not installed.
    """
    with of_extra("cluster", "training on Ray"):
        import ray
    address = share.found_address()
    try:
        if address is None:
            ray.init(**_own(share, temporary), logging_level="WARNING")
        else:
            _see_whether_it_listens(address)
            ray.init(address, logging_level="WARNING")
    except Exception as error:  # some of Ray's are plain ones
        said = " ".join(str(error).split())[:500]
        if address is None:
            raise RayNotStartedError(f"starting Ray on this machine: {said}; look at its memory and load") from error
        raise LaunchError(
            f"connecting to the cluster {address}: {said}; name the HOST:PORT of a cluster that this machine is part "
            "of in `address`, or leave it out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _see_whether_it_listens(address: str) -> None:
    """Raise an OSError if nobody listens there; Ray would try for many minutes."""
    if address == _AUTO:
        return
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S):
        pass


def _own(share: Share, temporary: str) -> dict[str, Any]:
    """Return how a Ray is started that is as large as what it is started for."""
    memory = {} if share.memory_bytes is None else {"_memory": share.memory_bytes * share.workers}
    return {
        "address": "local",
        "num_cpus": share.cpus * share.workers,
        "num_gpus": share.gpus * share.workers,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_node_ip_address": _LOOPBACK,
        "_temp_dir": temporary,
        **memory,
    }


def ray_environment(share: Share) -> dict[str, str]:
    """Return the environment of a process that works with Ray, beside the usual one."""
    own = {
        "GLOO_SOCKET_IFNAME": "lo",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # of this one alone; Ray would write one into the home folder
    }
    return {
        **({} if share.found_address() else own),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers without GPUs see none; what Ray will do, and warns of
        "RAY_COLOR_PREFIX": "0",
    }
