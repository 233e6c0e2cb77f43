"""A device's way to its hub over a slow link that loses packets: network namespaces, veth pairs, `tc` and iptables.

    this machine, `hub_host` --- "air", which forwards, paces and drops --- "device", where an agent runs

The kernel of the test machines has no netem: `tbf` sets the rate, each way, and iptables drops packets at random.
It takes root, iproute2 and iptables (`scripts/setup test`); without them the fixture fails and says so.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_QUEUE_MS = 2000
"""How long packets may wait for their turn at the slow link, as in a modem's buffer, before they are dropped."""
_COMMAND_S = 20
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_REMEDY = "it takes root, the kernel's network namespaces, iproute2 and iptables: run `scripts/setup test` as root"


class SlowLink:
    """The namespaces of one link; `shape` makes it slow."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.air, self.device, self._port = f"shoal-air-{tag}", f"shoal-device-{tag}", f"shoal{tag}"
        number = secrets.randbelow(2**14) * 8  # in 198.18.0.0/15, which RFC 2544 keeps for tests of networks
        first, second, third = 18 + (number >> 16), number >> 8 & 0xFF, number & 0xFF
        self._network = f"198.{first}.{second}.{{}}"
        self._third = third
        self.hub_host = self._host(1)

    def _host(self, place: int) -> str:
        return self._network.format(self._third + place)

    def open(self) -> None:
        """Make the namespaces, and a way from the device's to this machine's, as fast as it will."""
        inside = ["-n", self.air]
        ip("netns", "add", self.air)
        ip("netns", "add", self.device)
        ip("link", "add", self._port, "type", "veth", "peer", "name", "north", "netns", self.air)
        ip(*inside, "link", "add", "south", "type", "veth", "peer", "name", "port", "netns", self.device)
        _bring_up([], self._port, f"{self.hub_host}/30")
        _bring_up(inside, "north", f"{self._host(2)}/30")
        _bring_up(inside, "south", f"{self._host(5)}/30")
        _bring_up(["-n", self.device], "port", f"{self._host(6)}/30")
        ip("-n", self.device, "link", "set", "lo", "up")
        ip("-n", self.device, "route", "add", "default", "via", self._host(5))
        ip("route", "add", f"{self._host(4)}/30", "via", self._host(2), "dev", self._port)
        run(*within(self.air), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def shape(self, rate_kbit_per_s: int, loss_ratio: float) -> None:
        """Make it slow and lossy, each way."""
        for side in ("north", "south"):
            rate = f"{rate_kbit_per_s}kbit"
            bucket = ["rate", rate, "burst", "1600", "latency", f"{_QUEUE_MS}ms"]
            run(*within(self.air), "tc", "qdisc", "add", "dev", side, "root", "tbf", *bucket)
        lost = ["-m", "statistic", "--mode", "random", "--probability", str(loss_ratio), "-j", "DROP"]
        run(*within(self.air), "iptables", "-w", "-A", "FORWARD", *lost)

    def dropped_packets(self) -> int:
        """Count the packets that were lost on the way."""
        listed = run(*within(self.air), "iptables", "-w", "-L", "FORWARD", "-v", "-x", "-n")
        return sum(int(line.split()[0]) for line in listed.splitlines() if " DROP " in line)

    def received_bytes(self) -> int:
        """Count what has come through to the device, with every header."""
        lines = run(*within(self.device), "cat", "/proc/net/dev").splitlines()
        return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("port:"))

    @contextmanager
    def visited(self) -> Iterator[None]:
        """Open sockets of this thread inside of the device, for as long as the block lasts."""
        with open("/proc/thread-self/ns/net", "rb") as here, open(f"/run/netns/{self.device}", "rb") as there:  # noqa: PTH123
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def close(self) -> None:
        """Remove all of it, whatever of it there is."""
        for command in (["netns", "del", self.device], ["netns", "del", self.air], ["link", "del", self._port]):
            with suppress(AssertionError):
                ip(*command)
        left = [path.name for path in Path("/run/netns").glob("shoal-*") if path.name in {self.air, self.device}]
        assert not left, f"network namespaces are left behind: {left}; remove them by `ip netns del`"


@contextmanager
def slow_link() -> Iterator[SlowLink]:
    """Have a link for the length of the block.

    Raises:
        AssertionError: This machine makes no network namespaces; it says why.
    """
    link = SlowLink()
    try:
        link.open()
        yield link
    finally:
        link.close()


def within(namespace: str) -> list[str]:
    """Return what runs a command in a namespace; the process is then the command's own."""
    return [shutil.which("ip", path=_PATH) or "ip", "netns", "exec", namespace]


def ip(*arguments: str) -> str:
    return run("ip", *arguments)


def run(*command: str) -> str:
    """Run a command of the network; what it lacks is told with what to do about it."""
    environment = {**os.environ, "PATH": _PATH}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False, env=environment)
    except FileNotFoundError as error:
        raise AssertionError(f"{' '.join(command)}: {error}; {_REMEDY}") from error
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}; {_REMEDY}"
    return done.stdout


def _bring_up(inside: list[str], device: str, address: str) -> None:
    """Give one end its address; it sends packets of one segment each, so that one is lost and not 64 KiB at once."""
    ip(*inside, "addr", "add", address, "dev", device)
    ip(*inside, "link", "set", device, "gso_max_segs", "1")
    ip(*inside, "link", "set", device, "up")


def _enter(namespace: int) -> None:
    """Move this thread into a network namespace (setns(2), which Python has from 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
