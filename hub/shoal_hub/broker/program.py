"""Finds Mosquitto, and makes room for as many connections as the system allows."""

import resource
import shutil
from pathlib import Path
from typing import Final

from shoal_hub.broker.errors import BrokerError

WANTED_FILES: Final = 65_536
"""One connection takes one file descriptor."""
_SBIN: Final = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts Mosquitto: not on the PATH of an account that is not root."""


def find_mosquitto(name: str = "mosquitto", folder: Path | None = None, system: str = _SBIN) -> Path:
    """Return the path of the Mosquitto program.

    Args:
        name: A path, or a name to look for in `.cache/bin` under `folder`, on PATH and among the system's programs.
        folder: The working folder by default.
        system: Where the system's programs are, like PATH.

    Raises:
        BrokerError: It is not installed, or not where `name` says.
    """
    if "/" in name:
        found = shutil.which(name)
    else:
        cached = (folder or Path.cwd()) / ".cache" / "bin" / name
        found = shutil.which(cached) or shutil.which(name) or shutil.which(name, path=system)
    if found is None:
        raise BrokerError(
            f"starting the broker: the program {name!r} was not found",
            "install it (Debian, Ubuntu: sudo apt-get install mosquitto), or set SHOAL_MOSQUITTO to its path, or "
            "SHOAL_BROKER_URL to a broker that runs elsewhere",
        )
    return Path(found).absolute()


def raise_file_limit(wanted: int = WANTED_FILES) -> int:
    """Raise this process's limit of open files, which its children inherit, and return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    return wanted if soft == resource.RLIM_INFINITY else soft
