"""`shoal-agent captures`, and the options by which the device's owner allows capture at all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal_agent.cli_options import data_option, json_option, owners_file, readable

if TYPE_CHECKING:
    from shoal_agent.capture import CaptureStore
    from shoal_agent.encryption_key import EncryptionKey


capture_option = click.option(
    "--capture",
    "may_capture",
    is_flag=True,
    envvar="SHOAL_AGENT_CAPTURE",
    show_envvar=True,
    help="Let samples of real requests be kept on this device, encrypted, by the rules of --capture-rules.",
)
rules_option = click.option(
    "--capture-rules",
    "capture_file",
    type=click.Path(path_type=Path),
    envvar="SHOAL_AGENT_CAPTURE_RULES",
    show_envvar=True,
    default=owners_file("capture.toml"),
    show_default="/etc/shoal-agent/capture.toml for root, else ~/.config/shoal-agent/capture.toml",
    help="The file in which this device's owner says which samples are kept, how many, and who redacts them.",
)
send_option = click.option(
    "--send-captures",
    is_flag=True,
    envvar="SHOAL_AGENT_SEND_CAPTURES",
    show_envvar=True,
    help="Let captured samples go to the hub if it asks for them, within the bounds of --capture-rules.",
)


@click.group("captures")
def captures_group() -> None:
    """Samples of real requests that were kept on this device; see docs/guides/capture.md."""


@captures_group.command("list", epilog="Example: shoal-agent captures list --json")
@data_option
@json_option
@readable
def captures_list(*, data: Path, as_json: bool) -> None:
    """List what was kept, the oldest first, with why."""
    from shoal_agent.errors import AgentError

    store, key = _opened(data)
    rows = []
    for kept in store.kept():
        row: dict[str, Any] = {"name": kept.name, "size_bytes": kept.size_bytes}
        try:
            row |= store.open(kept.name, key).about.model_dump(mode="json")
        except AgentError as error:
            row |= {"at": kept.at.isoformat(), "problem": str(error)}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        what = row.get("problem") or f"{row['model']} version {row['version']}: {', '.join(row['reasons'])}"
        click.echo(f"{row['name']}  {row['size_bytes']} B  {what}")
    if not rows:
        click.echo("nothing is kept; see docs/guides/capture.md for how to have samples kept")


@captures_group.command("export", epilog="Example: shoal-agent captures export samples/")
@data_option
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), help="Where to; made if it is missing.")
@click.argument("names", nargs=-1, help="Which ones; none: all that can be read.")
@readable
def captures_export(*, data: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Write samples out of their encryption: NAME.npz and what is known of it as NAME.json, for this user alone."""
    from shoal_agent.errors import AgentError, DiskError

    store, key = _opened(data)
    written = 0
    for name in names or [kept.name for kept in store.kept()]:
        try:
            captured = store.open(name, key)
        except AgentError as error:
            if names:
                raise
            click.echo(f"left out {name}: {error}", err=True)
            continue
        stem = folder / name.removesuffix(".sealed")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(stem.with_suffix(".npz"), captured.sample)
            _write(stem.with_suffix(".json"), captured.about.model_dump_json(indent=2).encode())
        except OSError as error:
            raise DiskError(f"exporting {name} to {folder}: {error}", "choose another folder") from error
        written += 1
    click.echo(f"{written} samples exported to {folder}; they are not encrypted there")


@captures_group.command("delete", epilog="Example: shoal-agent captures delete --all")
@data_option
@click.argument("names", nargs=-1, help="Which ones.")
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@readable
def captures_delete(*, data: Path, names: tuple[str, ...], is_all: bool) -> None:
    """Delete samples; what a day may keep does not grow by it."""
    from shoal_agent.errors import AgentError

    if bool(names) == is_all:
        raise AgentError("deleting captured samples: neither names nor --all found, or both", "give one of the two")
    store = _store(data)
    chosen = [kept.name for kept in store.kept()] if is_all else list(names)
    for name in chosen:
        store.delete(name)
    click.echo(f"{len(chosen)} samples deleted")


def _store(data: Path) -> "CaptureStore":
    from shoal_agent.capture import CaptureStore
    from shoal_agent.clock import system_clock

    return CaptureStore(data / "capture", system_clock)


def _opened(data: Path) -> "tuple[CaptureStore, EncryptionKey]":
    from shoal_agent.encryption_key import load_or_make_encryption_key
    from shoal_agent.identity import load_identity

    identity = load_identity(data / "identity")
    return _store(data), load_or_make_encryption_key(data / "identity", identity.device_id)


def _write(path: Path, content: bytes) -> None:
    from shoal_agent.durable import replace_file

    replace_file(path, content, 0o600)
