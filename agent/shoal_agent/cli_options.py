"""What several commands share: where the agent's data is, JSON output, and errors that a person can read."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from typing_extensions import override

P = ParamSpec("P")
R = TypeVar("R")
LARGEST_PORT = 65535
READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class ModelNumber(click.ParamType[tuple[str, int]]):
    """A model and a whole number, such as doorbell=10.

    Args:
        least: The number is not less.
        most: Nor more.
    """

    name = "MODEL=N"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    @override
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        found = re.fullmatch(r"([a-z0-9][a-z0-9._-]{0,62})=(-?\d{1,4})", str(value))
        if found is None or not self._least <= int(found[2]) <= self._most:
            expected = f"a model and a number from {self._least} to {self._most} such as doorbell={min(10, self._most)}"
            self.fail(f"{value} found, {expected} expected", param, ctx)
        return found[1], int(found[2])


def _default_data_dir() -> Path:
    """/var/lib/shoal-agent for root, else under the user's own data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/shoal-agent")
    return Path.home() / ".local/share/shoal-agent"


def owners_file(name: str) -> Callable[[], Path]:
    """Return where a file of the owner's is by default: in /etc/shoal-agent for root, else in the user's own folder."""

    def default() -> Path:
        if os.geteuid() == 0:
            return Path("/etc/shoal-agent") / name
        return Path.home() / ".config/shoal-agent" / name

    return default


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="SHOAL_AGENT_DATA",
    show_envvar=True,
    default=_default_data_dir,
    show_default="/var/lib/shoal-agent for root, else ~/.local/share/shoal-agent",
    help="The agent's data folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def readable(command: Callable[P, R]) -> Callable[P, R]:
    """Print an AgentError as two lines, what and what to do, and exit with 1."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        from shoal_agent.errors import AgentError

        try:
            return command(*arguments, **options)
        except AgentError as error:
            click.echo(f"error: {error}\n  do: {error.remedy}", err=True)
            raise SystemExit(1) from error

    return run
