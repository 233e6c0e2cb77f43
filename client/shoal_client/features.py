"""Feature sets: what the API says of them, and its routes as methods."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shoal_client.assigned import devices_of, target_path
from shoal_client.fleet import Problem, Value
from shoal_client.transport import Transport


class FeatureVersion(Value):
    """A version of a set."""

    number: int
    set_by: str
    set_at: datetime


class FeatureSet(Value):
    """A set in a list: its newest version, and the groups and devices to which it is assigned."""

    name: str
    version: int
    set_by: str
    set_at: datetime
    pipelines: list[str]
    groups: list[str]
    devices: list[str]


class FeatureSetDetail(FeatureSet):
    """One version of a set, `number`; `body` are its definitions and pipelines, as they stand in a file."""

    number: int
    body: dict[str, Any]
    versions: list[FeatureVersion]
    device_count: int


class PipelineStatus(Value):
    """What a device says of a pipeline; `waiting`: nothing yet of this version. `step` is what its problem is with."""

    name: str
    state: str
    step: str
    problem: Problem | None


class FeatureDevice(Value):
    """A device of a set, the version that it was told, or why it was not told of the set."""

    id: str
    name: str
    presence: str
    version: int
    left_out: str
    pipelines: list[PipelineStatus]


class Features:
    """What devices compute of their events."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[FeatureSet]:
        """List sets by name."""
        return self._transport.call("GET", "/features", list[FeatureSet])

    def set(self, name: str, body: Mapping[str, Any]) -> FeatureSetDetail:
        """Make a set, or give it a new version, of definitions and pipelines; its devices are told."""
        return self._transport.call("PUT", f"/features/{name}", FeatureSetDetail, json=dict(body))

    def show(self, name: str, *, version: int | None = None) -> FeatureSetDetail:
        """Return a set, in its newest or another version."""
        params = {} if version is None else {"version": version}
        return self._transport.call("GET", f"/features/{name}", FeatureSetDetail, params=params)

    def remove(self, name: str) -> FeatureSetDetail:
        """Forget a set that is assigned to nobody."""
        return self._transport.call("DELETE", f"/features/{name}", FeatureSetDetail)

    def assign(self, name: str, *, group: str = "", device_id: str = "") -> FeatureSetDetail:
        """Have the devices of a group, or one device, compute a set."""
        return self._transport.call("PUT", target_path(f"/features/{name}", group, device_id), FeatureSetDetail)

    def unassign(self, name: str, *, group: str = "", device_id: str = "") -> FeatureSetDetail:
        """Take a set away from a group or a device."""
        return self._transport.call("DELETE", target_path(f"/features/{name}", group, device_id), FeatureSetDetail)

    def devices(self, name: str) -> Iterator[FeatureDevice]:
        """Yield the devices of a set by name, with what each says of its pipelines."""
        return devices_of(self._transport, f"/features/{name}", FeatureDevice)
