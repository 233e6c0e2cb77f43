"""`shoal-agent hold`, `release`, `probes` and `storage`: what the device's owner has to say in updates."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shoal_agent.cli_options import data_option, json_option, owners_file, readable

if TYPE_CHECKING:
    from shoal_agent.hold import Hold, HoldFile

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _Duration(click.ParamType[float]):
    """A time such as 90s, 30m, 2h or 7d; seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,7})([smhd])", str(value))
        if found is None or (seconds := float(int(found[1]) * _UNITS_S[found[2]])) == 0:
            self.fail(f"{value} found, a time such as 90s, 30m, 2h or 7d expected", param, ctx)
        return seconds


probes_option = click.option(
    "--probes",
    "probes_file",
    type=click.Path(path_type=Path),
    envvar="SHOAL_AGENT_PROBES",
    show_envvar=True,
    default=owners_file("probes.toml"),
    show_default="/etc/shoal-agent/probes.toml for root, else ~/.config/shoal-agent/probes.toml",
    help="The file in which this device's owner defines probes.",
)
reserve_option = click.option(
    "--reserve-mb",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    envvar="SHOAL_AGENT_RESERVE_MB",
    show_envvar=True,
    help="What an update leaves free on the disk, in MB.",
)
budget_option = click.option(
    "--max-models-mb",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    envvar="SHOAL_AGENT_MAX_MODELS_MB",
    show_envvar=True,
    help="What models and their updates may take on the disk together, in MB; 0: as much as there is.",
)


@click.command("hold", epilog='Example: shoal-agent hold --reason "stocktaking" --for 2h')
@data_option
@click.option("--reason", default="", help="Why; the hub shows it.")
@click.option("--for", "for_s", type=_Duration(), default=None, help="Until then only: 90s, 30m, 2h, 7d.")
@json_option
@readable
def hold_command(*, data: Path, reason: str, for_s: float | None, as_json: bool) -> None:
    """Hold what serves: no other version is activated until it is released. Fetching goes on.

    The hub is told why. It can not overrule it; only a version that cannot serve at all gives way.
    """
    from datetime import timedelta

    file = _hold_file(data)
    file.put(file.hold_for(reason, timedelta(seconds=for_s) if for_s else None))
    _show(file.read(), as_json=as_json)


@click.command("release", epilog="Example: shoal-agent release")
@data_option
@json_option
@readable
def release(*, data: Path, as_json: bool) -> None:
    """Let updates go on after a hold; what waits looks again within 15 s."""
    file = _hold_file(data)
    file.release()
    _show(file.read(), as_json=as_json)


@click.group("probes")
def probes_group() -> None:
    """What new versions have to pass on this device before they are committed."""


@probes_group.command("list", epilog="Example: shoal-agent probes list --json")
@probes_option
@json_option
@readable
def probes_list(*, probes_file: Path, as_json: bool) -> None:
    """List the probes that this device's owner has defined."""
    from shoal_agent.probes import Probes

    defined = Probes(probes_file).defined()
    if as_json:
        click.echo(json.dumps({name: probe.model_dump(exclude_defaults=True) for name, probe in defined.items()}))
        return
    for name, probe in defined.items():
        click.echo(f"{name}: {' '.join(probe.exec) or f'{probe.method} {probe.http}'}")
    if not defined:
        click.echo(f"no probes yet; define them in {probes_file}, see docs/guides/update-policy.md")


@probes_group.command("run", epilog="Example: shoal-agent probes run camera-ok")
@click.argument("name", help="The probe's name.")
@probes_option
@json_option
@readable
def probes_run(*, name: str, probes_file: Path, as_json: bool) -> None:
    """Run a probe now, as an update would; exits with 1 if it does not pass."""
    import dataclasses

    import anyio

    from shoal_agent.probes import Probes

    result = anyio.run(Probes(probes_file).run, name)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result)))
    else:
        said = "passes" if result.has_passed else "does not pass"
        click.echo(f"{name} {said}, attempt {result.attempts}: {result.detail}")
    if not result.has_passed:
        raise SystemExit(1)


@click.command("storage", epilog="Example: shoal-agent storage --json")
@data_option
@reserve_option
@budget_option
@json_option
@readable
def storage(*, data: Path, reserve_mb: int, max_models_mb: int, as_json: bool) -> None:
    """Show what models take on the disk, what is left for updates, and what would be deleted for one."""
    from shoal_agent.blobs import BlobStore
    from shoal_agent.room import Room
    from shoal_agent.settings import MEGABYTE, UpdateSettings
    from shoal_agent.slots import SlotFile, known_models

    models = {name: SlotFile(data / "models", name).slots for name in known_models(data / "models")}
    needed = {sha256 for slots in models.values() for sha256 in slots.artifacts()}
    settings = UpdateSettings(reserve_bytes=reserve_mb * MEGABYTE, max_models_bytes=max_models_mb * MEGABYTE)
    found = Room(BlobStore(data / "blobs", is_read_only=True), settings, lambda: needed).look()
    answer = {
        "kept_bytes": found.kept_bytes,
        "free_bytes": found.free_bytes,
        "budget_bytes": found.max_bytes or None,
        "evictable": found.evictable,
        "models": {
            name: {slot.version: slot.size_bytes for slot in slots.held()} for name, slots in sorted(models.items())
        },
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    for name, slots in sorted(models.items()):
        click.echo(f"{name}: {', '.join(f'version {slot.version} ({slot.size_bytes} B)' for slot in slots.held())}")
    click.echo(f"kept       {found.kept_bytes} B for versions that serve, served before or wait")
    click.echo(f"free       {found.free_bytes} B beyond the reserve of {reserve_mb} MB")
    click.echo(f"evictable  {sum(found.evictable.values())} B in {len(found.evictable)} files that no version needs")


def _hold_file(data: Path) -> "HoldFile":
    from shoal_agent.clock import Clock
    from shoal_agent.errors import DiskError
    from shoal_agent.hold import HoldFile

    if not data.is_dir():
        raise DiskError(
            f"holding what serves on {data}: there is no such folder", "give the agent's folder with --data"
        )
    return HoldFile(data, Clock(data / "trust" / "clock.json"))


def _show(hold: "Hold | None", *, as_json: bool) -> None:
    if as_json:
        until = hold.until.isoformat() if hold and hold.until else None
        click.echo(json.dumps({"is_held": hold is not None, "reason": hold.reason if hold else "", "until": until}))
    else:
        click.echo(f"held{hold.said()}" if hold else "released")
