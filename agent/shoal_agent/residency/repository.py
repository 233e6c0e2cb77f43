"""The protocol's repository extension on this device: loading and unloading where the owner allows it."""

from typing import Final

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import NOT_FOUND
from shoal_agent.residency.residency import Residency
from shoal_agent.serving import ModelServer
from shoal_agent.serving.repository import Entry, served_entries

_CONFLICT: Final = 409


class DeviceRepository:
    """A `Repository` of what the device serves, and of what rests on its disk.

    Args:
        server: What serves.
        residency: Loads and unloads.
    """

    def __init__(self, server: ModelServer, residency: Residency) -> None:
        self._server = server
        self._residency = residency

    def index(self) -> list[Entry]:
        """Return all versions that there are, loaded or not."""
        return served_entries(self._server)

    async def load(self, name: str) -> None:
        """Have a model served; return once it is.

        Raises:
            RequestError: It is not there, is a composition, finds no room or does not load.
            DiskError: It could not be noted.
        """
        self._check(name, "loading")
        await self._residency.reload(name)

    async def unload(self, name: str) -> None:
        """Serve a model no longer, until it is told to load or another version is rolled out.

        Raises:
            RequestError: It is not there, or is a composition.
            DiskError: It could not be noted.
        """
        self._check(name, "unloading")
        await self._residency.unload(name)

    def _check(self, name: str, doing: str) -> None:
        """See that a name is one of a model that is on this device.

        Raises:
            RequestError: It is not.
        """
        served, absence = self._server.get(name), self._server.absent().get(name)
        if served is None and absence is None:
            message = f"{doing} model {name[:64]!r}: it is not on this device"
            raise RequestError(message, NOT_FOUND, "roll it out: shoal rollouts start")
        if (served is not None and served.members) or (absence is not None and not absence.manifest_sha256):
            message = f"{doing} {name[:64]!r}: it is made of other models, and has no memory of its own"
            raise RequestError(message, _CONFLICT, "load or unload the models that it is made of")
