"""`shoal-agent key` and `shoal-agent identity`: who this device is, and its keys."""

import json
from pathlib import Path

import click

from shoal_agent.cli_options import data_option, json_option, readable


@click.command("key", epilog="Example: shoal-agent key")
@data_option
@json_option
@readable
def key(*, data: Path, as_json: bool) -> None:
    """Print the fingerprint of this device's key, by which a hub can know it; the first call makes the key."""
    from shoal_agent.identity import load_or_make_key
    from shoal_contract.device_signature import device_key_id

    fingerprint = device_key_id(load_or_make_key(data / "identity").public_key())
    click.echo(json.dumps({"key_sha256": fingerprint}) if as_json else fingerprint)


@click.group("identity", invoke_without_command=True, epilog="Example: shoal-agent identity --json")
@data_option
@json_option
@click.pass_context
@readable
def identity_group(context: click.Context, *, data: Path, as_json: bool) -> None:
    """Show who this device is: its id, certificate and keys; or replace one of them."""
    if context.invoked_subcommand is not None:
        return
    from shoal_agent.identity import describe

    facts = describe(data / "identity")
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:22} {value}")


@identity_group.command(
    "rotate-encryption-key", epilog="Example: systemctl stop shoal-agent && shoal-agent identity rotate-encryption-key"
)
@data_option
@json_option
@readable
def rotate_encryption_key(*, data: Path, as_json: bool) -> None:
    """Replace the key that opens encrypted versions, and take the stored ones over to it. The agent must not run."""
    from contextlib import closing
    from datetime import datetime, timezone

    from shoal_agent.folder_lock import only_one
    from shoal_agent.identity import load_identity
    from shoal_agent.key_rotation import rotate_encryption_key as rotate
    from shoal_agent.outbox import Outbox
    from shoal_agent.settings import OutboxSettings
    from shoal_contract.telemetry import EncryptionKeyReplaced

    identity = load_identity(data / "identity")
    with only_one(data), closing(Outbox(data / "outbox.sqlite", OutboxSettings())) as outbox:

        def tell(public_hex: str) -> None:
            outbox.put_event(EncryptionKeyReplaced(encryption_key=public_hex), datetime.now(timezone.utc))

        key = rotate(data, identity.device_id, tell)
    if as_json:
        click.echo(json.dumps({"device_id": identity.device_id, "encryption_key": key.public_hex}))
    else:
        click.echo(f"the encryption key is now {key.public_hex}; start the agent: it tells the hub")
