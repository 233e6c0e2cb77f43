"""Where the parts of a running hub are: `hub.json` in the data folder, written by the supervisor, read by the rest."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_hub.errors import HubError
from shoal_hub.mqtt import Endpoint
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import HubAuthority


class NotRunningError(HubError):
    """The hub has not been started on this data folder."""

    code = "not_running"


class Addresses(BaseModel):
    """The ports that were taken, and the hosts under which others reach them."""

    model_config = ConfigDict(frozen=True)

    api_url: str
    api_port: int
    broker_host: str
    broker_port: int
    hub_listener_host: str
    hub_listener_port: int

    @classmethod
    def read(cls, settings: Settings) -> "Addresses":
        """Read the file.

        Raises:
            NotRunningError: It is not there, or not whole.
        """
        path = path_of(settings)
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise NotRunningError(f"reading {path}: {error}", "start the hub: shoal hub up") from error

    def write(self, settings: Settings) -> None:
        """Replace the file in one step."""
        path = path_of(settings)
        part = path.with_name(path.name + ".part")
        part.write_text(self.model_dump_json(indent=2) + "\n")
        part.replace(path)

    def endpoint(self, settings: Settings, name: str) -> Endpoint:
        """Return how the hub's process `name` connects to the broker."""
        authority = HubAuthority.open(settings.data / "trust")
        return Endpoint(
            self.hub_listener_host,
            self.hub_listener_port,
            authority.certificate_path,
            authority.connection(name),
            renew=lambda: authority.connection(name),
        )


def path_of(settings: Settings) -> Path:
    """Return where the file lies."""
    return settings.data / "hub.json"
