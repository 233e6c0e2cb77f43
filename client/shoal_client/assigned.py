"""What things that groups and devices are given, features and compositions, have in common."""

from collections.abc import Iterator
from typing import TypeVar

from shoal_client.transport import Transport

T = TypeVar("T")
_PAGE = 1000


def target_path(thing: str, group: str, device_id: str) -> str:
    """Return the path of an assignment.

    Args:
        thing: The path of what is assigned, like `/features/pumps`.
        group: To a group; empty: to a device.
        device_id: To a device; empty: to a group.

    Raises:
        ValueError: Neither is given, or both.
    """
    if bool(group) == bool(device_id):
        msg = f"assigning {thing[1:]}: group {group!r} and device {device_id!r} found, expected one of them"
        raise ValueError(msg)
    return f"{thing}/groups/{group}" if group else f"{thing}/devices/{device_id}"


def devices_of(transport: Transport, thing: str, kind: type[T]) -> Iterator[T]:
    """Yield the devices of what is assigned by name, page by page."""
    offset = 0
    while True:
        page = transport.call("GET", f"{thing}/devices", list[kind], params={"limit": _PAGE, "offset": offset})  # type: ignore[valid-type]
        yield from page
        offset += len(page)
        if len(page) < _PAGE:
            return
