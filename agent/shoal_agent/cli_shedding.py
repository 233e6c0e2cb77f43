"""Options of `shoal-agent run` for a device that is too hot or short of memory, see `shoal_agent.shedding`."""

import re
from typing import Final

import click

_MOST: Final = 1000


class _Priority(click.ParamType[tuple[str, int]]):
    """A model and its priority, such as doorbell=10."""

    name = "MODEL=N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        found = re.fullmatch(r"([a-z0-9][a-z0-9._-]{0,62})=(-?\d{1,4})", str(value))
        if found is None or abs(int(found[2])) > _MOST:
            self.fail(
                f"{value} found, a model and a number from -{_MOST} to {_MOST} such as doorbell=10 expected", param, ctx
            )
        return found[1], int(found[2])


priority_option = click.option(
    "--priority",
    "priorities",
    type=_Priority(),
    multiple=True,
    envvar="SHOAL_AGENT_PRIORITIES",
    show_envvar=True,
    help="A model's priority, MODEL=N, for when the device is too hot or short of memory: lower ones are refused"
    " first; 0 where none is given. May be given several times.",
)
soft_option = click.option(
    "--shed-soft-c",
    type=click.FloatRange(0, 150, min_open=True),
    default=None,
    show_default="80 on a Raspberry Pi, elsewhere 5 before the kernel slows down",
    envvar="SHOAL_AGENT_SHED_SOFT_C",
    show_envvar=True,
    help="Temperature in °C from which on requests to models of the lowest priority are refused.",
)
hard_option = click.option(
    "--shed-hard-c",
    type=click.FloatRange(0, 150, min_open=True),
    default=None,
    show_default="85 on a Raspberry Pi, elsewhere where the kernel slows down",
    envvar="SHOAL_AGENT_SHED_HARD_C",
    show_envvar=True,
    help="Temperature in °C from which on requests to all models but those of the highest priority are refused.",
)
