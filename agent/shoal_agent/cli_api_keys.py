"""`shoal-agent api-keys`: who may ask this device for inference over the network."""

import json
from pathlib import Path

import click

from shoal_agent.cli_options import data_option, json_option, readable


@click.group("api-keys", epilog="Example: shoal-agent api-keys create dashboard")
def api_keys_group() -> None:
    """Make, list and take back the keys of the remote endpoint (shoal-agent run --remote-host)."""


@api_keys_group.command(epilog="Example: shoal-agent api-keys create dashboard")
@data_option
@click.argument("name", help="What the key is for.")
@json_option
@readable
def create(*, data: Path, name: str, as_json: bool) -> None:
    """Make a key and print it, this once."""
    from datetime import datetime, timezone

    from shoal_agent.endpoint.keys import ApiKeys

    key = ApiKeys(data / "api-keys.json").create(name, datetime.now(timezone.utc))
    click.echo(json.dumps({"name": name, "key": key}) if as_json else key)


@api_keys_group.command("list", epilog="Example: shoal-agent api-keys list --json")
@data_option
@json_option
@readable
def list_keys(*, data: Path, as_json: bool) -> None:
    """List the keys by name."""
    from shoal_agent.endpoint.keys import ApiKeys

    keys = ApiKeys(data / "api-keys.json").read()
    if as_json:
        click.echo(json.dumps([key.model_dump(mode="json", exclude={"sha256"}) for key in keys]))
        return
    for key in keys:
        click.echo(f"{key.created_at:%Y-%m-%d %H:%M}  {key.name}")


@api_keys_group.command(epilog="Example: shoal-agent api-keys revoke dashboard")
@data_option
@click.argument("name", help="The key's name.")
@readable
def revoke(*, data: Path, name: str) -> None:
    """Take a key back."""
    from shoal_agent.endpoint.keys import ApiKeys

    ApiKeys(data / "api-keys.json").revoke(name)
