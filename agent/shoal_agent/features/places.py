"""What a pipeline may reach: files in folders that the device's owner allows, addresses on the device and its LAN."""

import socket
from collections.abc import Sequence
from pathlib import Path

from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.near_address import nearest_of


def allowed_path(path: str, folders: Sequence[Path], doing: str) -> Path:
    """Return the place of a file, links followed, if the owner allows it.

    Args:
        path: As the pipeline has it; a relative one is in the first folder.
        folders: What is allowed.
        doing: How an error begins.

    Raises:
        FeaturesError: It lies elsewhere.
    """
    allowed = [folder.resolve() for folder in folders]
    found = (allowed[0] / path).resolve()
    if not any(found.is_relative_to(folder) and found != folder for folder in allowed):
        known = ", ".join(map(str, allowed))
        message = f"{doing}: {found} found, expected a file within {known}"
        remedy = "name a file there, or have the device's owner allow its folder: shoal-agent run --features-folder"
        raise FeaturesError(message, remedy)
    return found


def near_address(host: str, port: int, doing: str) -> tuple[str, int]:
    """Return an address of a host that lies on this device or its LAN; that very one is then connected to. Blocks.

    Args:
        host: A name or an address.
        port: The port.
        doing: How an error begins.

    Raises:
        UnreachableError: The name is not known for now.
        FeaturesError: It lies beyond.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"{doing}: finding {host[:100]}: {error}") from error
    address = nearest_of(found)
    if address is None:
        message = f"{doing}: {host[:100]} lies beyond this device and its LAN"
        raise FeaturesError(
            message, "name a host on the device or its LAN; what goes to the hub goes through the agent"
        )
    return address, port
