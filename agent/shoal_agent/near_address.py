"""Which of a host's addresses lies on this device or its LAN; who connects to that very one is not led elsewhere."""

import ipaddress
from collections.abc import Iterable
from typing import Any


def nearest_of(found: Iterable[tuple[Any, ...]]) -> str | None:
    """Return the first address that is loopback, private or link-local, None if there is none.

    Args:
        found: What `getaddrinfo` gave.
    """
    for *_, sockaddr in found:
        address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        if address.is_loopback or address.is_private or address.is_link_local:
            return str(sockaddr[0])
    return None
