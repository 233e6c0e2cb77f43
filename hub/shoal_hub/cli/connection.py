"""The CLI's connection to the hub, and how it finds a device that a person names."""

import os

from shoal_client import ClientError, ShoalClient
from shoal_client.fleet import Device


def connect() -> ShoalClient:
    """Open the hub of the profile; what it does belongs to the trace of a pipeline that says so by `TRACEPARENT`."""
    client = ShoalClient.from_profile()
    client.follow(os.environ.get("TRACEPARENT", ""))
    return client


def find_device(client: ShoalClient, named: str, *, decommissioned: bool = False) -> Device:
    """Return the device with this id or this name; of the decommissioned ones, if they count, by its id alone.

    Raises:
        ClientError: There is none, or the name is not unique.
    """
    known = client.devices.all(decommissioned=decommissioned)
    found = [one for one in known if named == one.id or (named == one.name and one.decommissioned_at is None)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ClientError(f"no device has the id or name {named}", "list them: shoal devices list")
    raise ClientError(
        f"{len(found)} devices are named {named}", f"give an id: {', '.join(device.id for device in found)}"
    )
