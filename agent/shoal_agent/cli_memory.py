"""Options of `shoal-agent run` about which models are loaded, and `shoal-agent memory`, which shows what they take."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal_agent.cli_options import data_option, json_option, readable

if TYPE_CHECKING:
    from shoal_agent.settings import MemorySettings

_OPTIONS = (
    click.option(
        "--memory-budget-mb",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        envvar="SHOAL_AGENT_MEMORY_BUDGET_MB",
        show_envvar=True,
        help="What loaded models may take of the memory together, as measured here, in MB; 0: as much as there is.",
    ),
    click.option(
        "--on-demand-load/--no-on-demand-load",
        default=True,
        show_default=True,
        envvar="SHOAL_AGENT_ON_DEMAND_LOAD",
        show_envvar=True,
        help="Load a model that gave way to others when it is asked.",
    ),
    click.option(
        "--keep-loaded",
        multiple=True,
        envvar="SHOAL_AGENT_KEEP_LOADED",
        show_envvar=True,
        help="A model that never gives way to others. May be given several times.",
    ),
    click.option(
        "--repository-control",
        is_flag=True,
        envvar="SHOAL_AGENT_REPOSITORY_CONTROL",
        show_envvar=True,
        help="Let clients load and unload models by the protocol's repository extension.",
    ),
)


def memory_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which passes them on to `memory_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def memory_settings(options: dict[str, Any]) -> "MemorySettings":
    """Return the settings that the options stand for."""
    from shoal_agent.settings import MEGABYTE, MemorySettings

    return MemorySettings(
        budget_bytes=options["memory_budget_mb"] * MEGABYTE,
        loads_on_demand=options["on_demand_load"],
        kept=options["keep_loaded"],
        may_control=options["repository_control"],
    )


@click.command("memory", epilog="Example: shoal-agent memory --for 50000000")
@data_option
@click.option("--for", "size_bytes", type=click.IntRange(1), default=None, help="If a model of so many bytes came.")
@click.option("--priority", type=int, default=0, show_default=True, help="That model's priority.")
@json_option
@readable
def memory_command(*, data: Path, size_bytes: int | None, priority: int, as_json: bool) -> None:
    """Show what each model of the running agent takes of the memory, and which would give way to another one."""
    from shoal_agent.local_endpoint import ask, endpoint_of

    query = f"?for={size_bytes}&priority={priority}" if size_bytes is not None else ""
    answer = ask(endpoint_of(data), "GET", f"/shoal/v1/memory{query}")
    if as_json:
        click.echo(json.dumps(answer))
        return
    budget = f" of {answer['budget_bytes']}" if answer["budget_bytes"] is not None else ", without a budget"
    click.echo(f"models take {answer['taken_bytes']} bytes{budget}")
    click.echo(f"{'MODEL':<24} {'BYTES':>12} {'PRIORITY':>8} {'LAST USE':>12}  STATE")
    for model in answer["models"]:
        click.echo(_line(model))
    if "preview" in answer:
        click.echo(_said(answer["preview"], size_bytes or 0))


def _line(model: dict[str, Any]) -> str:
    size = "unknown" if model["size_bytes"] is None else str(model["size_bytes"])
    idle = "never" if model["idle_s"] is None else f"{model['idle_s']:.0f} s ago"
    state = "loaded" if model["is_loaded"] else f"unloaded: {model['reason']}"
    kept = ", kept" if model["is_kept"] else ""
    return f"{model['name']:<24} {size:>12} {model['priority']:>8} {idle:>12}  {state}{kept}"


def _said(preview: dict[str, Any], size_bytes: int) -> str:
    if not preview["fits"]:
        return f"a model of {size_bytes} bytes would not be loaded: what is loaded does not give way to it"
    evicted = ", ".join(preview["evicted"])
    return f"a model of {size_bytes} bytes would be loaded; {evicted or 'nothing'} would give way"
