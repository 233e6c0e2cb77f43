"""Where alerts may go: an address is looked up once, judged, and that very one is connected to.

So no name can lead to the hub's own machine, to its network or to a cloud's metadata by what it resolves to, unless a
setting allows as much; nor by a redirect or a proxy, neither of which is followed.
"""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from shoal_hub.alerts.errors import DeliveryError

Reach = Literal["public", "lan", "loopback"]
"""How far alerts may come home; each reaches all that the one before it does."""
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")
_METADATA: Final = frozenset(
    ipaddress.ip_address(one)
    for one in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # containers of AWS
        "169.254.170.23",
        "168.63.129.16",  # Azure, among public addresses
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle, of old
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
    )
)
"""Where clouds tell machines their secrets; some look like a public address, or like one of the hub's network."""
_ORDER: Final[tuple[Reach, ...]] = ("public", "lan", "loopback")


def distance(address: Address) -> Reach | None:
    """Return what has to be allowed for an address to be reached; None: it never is.

    An IPv4 address within an IPv6 one is judged as what it is: that is where the packets go.
    """
    inner = _inner(address)
    if inner is not None:
        return distance(inner)
    if address in _METADATA:
        return None
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified or address.is_multicast or address.is_link_local or address.is_reserved:
        return None
    if address.is_global:
        return "public"
    is_lan = address.is_private or (address.version == 4 and address in _SHARED)  # noqa: PLR2004 - IP's
    return "lan" if is_lan else None


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def find_address(host: str, port: int, reach: Reach) -> str:
    """Return the first of a host's addresses that alerts may go to. Blocks.

    Raises:
        DeliveryError: The name is not known, or leads only where alerts may not go.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"finding {host}: {error}") from error
    for *_, place in found:
        needed = distance(ipaddress.ip_address(str(place[0]).split("%", 1)[0]))
        if needed is not None and _ORDER.index(needed) <= _ORDER.index(reach):
            return str(place[0])
    raise DeliveryError(
        f"{host} leads to this machine, its network or a special address, where alerts may not go: "
        "where that is right, set SHOAL_ALERTS_REACH to lan or loopback"
    )


@contextmanager
def connected(host: str, port: int, reach: Reach, timeout_s: float) -> Iterator[socket.socket]:
    """Connect to a host that alerts may go to; the connection ends after that time, whatever is done with it then.

    A socket's own timeout is for each read: who sends a byte now and then would hold on for ever.

    Raises:
        DeliveryError: There is no way there, or the time was over before the block was.
    """
    address = find_address(host, port, reach)
    try:
        opened = socket.create_connection((address, port), timeout_s)
    except OSError as error:
        raise DeliveryError(f"connecting to {host}:{port}: {error}") from error
    with opened, opened.dup() as held:  # TLS takes the first one over
        is_cut = threading.Event()
        end = threading.Timer(timeout_s, _cut, [held, is_cut])
        end.daemon = True
        end.start()
        try:
            yield opened
        finally:
            end.cancel()
        if is_cut.is_set():  # what was read until then may look whole
            raise DeliveryError(f"{host} has not answered within {timeout_s:g} s")


def _cut(held: socket.socket, is_cut: threading.Event) -> None:
    is_cut.set()
    try:
        held.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
