"""Options of `shoal-agent run` for a device that is too hot or short of memory, see `shoal_agent.shedding`."""

from typing import Final

import click

from shoal_agent.cli_options import ModelNumber

_MOST: Final = 1000


priority_option = click.option(
    "--priority",
    "priorities",
    type=ModelNumber(-_MOST, _MOST),
    multiple=True,
    envvar="SHOAL_AGENT_PRIORITIES",
    show_envvar=True,
    help="A model's priority, MODEL=N: requests to higher ones have their turn first, and on a device that is too hot"
    " or short of memory lower ones are refused first; 0 where none is given. May be given several times.",
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
