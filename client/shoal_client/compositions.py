"""Compositions: what the API says of them, and its routes as methods."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from shoal_client.assigned import devices_of, target_path
from shoal_client.fleet import Problem, Value
from shoal_client.transport import Transport


class Composition(Value):
    """Models that are asked together under a name; `form` is an ensemble or a cascade, as it stands in a file."""

    name: str
    version: int
    form: dict[str, Any]
    models: list[str]
    created_by: str
    created_at: datetime
    set_by: str
    set_at: datetime
    groups: list[str]
    devices: list[str]
    device_count: int


class CompositionDevice(Value):
    """A device of a composition and what it says of it; `left_out` is why it was not told."""

    id: str
    name: str
    presence: str
    version: int
    state: str
    problem: Problem | None
    left_out: str


class Compositions:
    """Ensembles and cascades of models."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Composition]:
        """List compositions by name."""
        return self._transport.call("GET", "/compositions", list[Composition])

    def create(
        self, name: str, form: Mapping[str, Any], *, groups: Sequence[str] = (), device_ids: Sequence[str] = ()
    ) -> Composition:
        """Compose models under a name of their own, and have groups and devices serve it."""
        body = {"name": name, "form": dict(form), "groups": [*groups], "devices": [*device_ids]}
        return self._transport.call("POST", "/compositions", Composition, json=body)

    def show(self, name: str) -> Composition:
        """Return a composition."""
        return self._transport.call("GET", f"/compositions/{name}", Composition)

    def change(self, name: str, form: Mapping[str, Any]) -> Composition:
        """Give a composition another form, as its next version; its devices are told."""
        return self._transport.call("PUT", f"/compositions/{name}", Composition, json={"form": dict(form)})

    def remove(self, name: str) -> Composition:
        """Forget a composition, which its devices cease to serve."""
        return self._transport.call("DELETE", f"/compositions/{name}", Composition)

    def assign(self, name: str, *, group: str = "", device_id: str = "") -> Composition:
        """Have the devices of a group, or one device, serve a composition."""
        return self._transport.call("PUT", target_path(f"/compositions/{name}", group, device_id), Composition)

    def unassign(self, name: str, *, group: str = "", device_id: str = "") -> Composition:
        """Take a composition away from a group or a device."""
        return self._transport.call("DELETE", target_path(f"/compositions/{name}", group, device_id), Composition)

    def devices(self, name: str) -> Iterator[CompositionDevice]:
        """Yield the devices of a composition by name, with what each says of it."""
        return devices_of(self._transport, f"/compositions/{name}", CompositionDevice)
