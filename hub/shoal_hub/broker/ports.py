"""Free TCP ports, for settings that leave the choice to the system."""

import random
import socket
from pathlib import Path
from typing import Final

_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_240
_TRIES: Final = 64


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on right now, and that the system gives to no outgoing connection.

    Such a connection could take the port in the moment in which a process that listens there is started again.
    """
    for port in random.sample(_kept_ports(), k=min(_TRIES, len(_kept_ports()))):
        if is_free(port, host):
            return port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody listens on a port right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _kept_ports() -> range:
    """Return the ports from which no outgoing connection comes; none where the system does not say which these are."""
    if not _EPHEMERAL.exists():
        return range(0)
    lowest_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    return range(_LOWEST, lowest_ephemeral)
