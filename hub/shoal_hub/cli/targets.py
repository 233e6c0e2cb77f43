"""Whom something is assigned to, on command lines: groups by name, devices by name or id."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shoal_client import ClientError, ShoalClient
from shoal_hub.cli.connection import find_device

Groups = Annotated[list[str] | None, typer.Option("--group", help="Name of a group. May be given several times.")]
Devices = Annotated[
    list[str] | None, typer.Option("--device", help="Name or id of a device. May be given several times.")
]


def chosen_targets(client: ShoalClient, groups: list[str] | None, devices: list[str] | None) -> list[dict[str, str]]:
    """Return what the methods of the client take of each target.

    Raises:
        ClientError: None is named, or a device is not known.
    """
    chosen = [{"group": one} for one in groups or ()]
    chosen += [{"device_id": find_device(client, one).id} for one in devices or ()]
    if not chosen:
        raise ClientError("no group and no device is named", "give --group NAME or --device DEVICE")
    return chosen


def target_texts(groups: Sequence[str], devices: Sequence[str]) -> list[str]:
    """Return how people call targets."""
    return [*(f"group {one}" for one in groups), *devices]
