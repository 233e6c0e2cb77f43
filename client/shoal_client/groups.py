"""Groups of devices: what the API says of them, and its routes as methods."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport


class Group(Value):
    """A group: static, or dynamic by a query."""

    name: str
    kind: Literal["static", "dynamic"]
    query: str | None
    description: str
    created_by: str
    created_at: datetime


class GroupDetail(Group):
    """A group, how many unrevoked devices are in it now, and those that it lists besides the ones at home there."""

    members: int
    devices: list[str]


class Groups:
    """Named selections of devices. Their members: `Devices.all(group=NAME)`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Group]:
        """List groups by name."""
        return self._transport.call("GET", "/groups", list[Group])

    def show(self, name: str) -> GroupDetail:
        """Return one group with the count of its members."""
        return self._transport.call("GET", f"/groups/{name}", GroupDetail)

    def create(
        self, name: str, *, query: str | None = None, devices: Sequence[str] = (), description: str = ""
    ) -> GroupDetail:
        """Make a group: dynamic with a query, static without; a static one may list devices by their ids."""
        body: dict[str, Any] = {"name": name, "query": query, "devices": [*devices], "description": description}
        return self._transport.call("POST", "/groups", GroupDetail, json=body)

    def update(
        self,
        name: str,
        *,
        query: str | None = None,
        description: str | None = None,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> GroupDetail:
        """Change a dynamic group's query, the devices that a static one lists, or a description; None stays."""
        body: dict[str, Any] = {"query": query, "description": description, "add": [*add], "remove": [*remove]}
        return self._transport.call("PATCH", f"/groups/{name}", GroupDetail, json=body)

    def delete(self, name: str) -> GroupDetail:
        """End a group that is nobody's home; its devices stay."""
        return self._transport.call("DELETE", f"/groups/{name}", GroupDetail)
