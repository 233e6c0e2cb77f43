"""How the CLI draws what happened to a rollout: a line each for what people, the hub and failures did.

What goes well on devices is one line for all of it until something else happens: most of a history is that.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table

from shoal_client.rollouts import HistoryEntry
from shoal_hub.cli.output import cell
from shoal_hub.words import counted


def draw_history(entries: Sequence[HistoryEntry], *, is_each: bool = False) -> Group:
    """Return what happened, the oldest first, under its day.

    Args:
        entries: The history, in order.
        is_each: Whether each step of each device has a line of its own.
    """
    drawn: list[str | Table] = []
    for day, of_day in groupby(entries, key=lambda one: f"{one.at:%Y-%m-%d}"):
        drawn += [f"[bold]{day}[/bold] (UTC)", _day(list(of_day), is_each=is_each)]
    return Group(*drawn)


def _day(entries: Sequence[HistoryEntry], *, is_each: bool) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    drawn.add_column("TIME", no_wrap=True)
    drawn.add_column("BY", overflow="ellipsis", no_wrap=True, max_width=20)
    drawn.add_column("WHAT", overflow="fold", ratio=1)
    for is_usual, run in groupby(entries, key=_is_usual):
        if is_usual and not is_each:
            _add_steps(drawn, list(run))
            continue
        for one in run:
            style = {"error": "red", "warning": "yellow"}.get(one.severity, "")
            drawn.add_row(f"{one.at:%H:%M:%S}", cell(one.by or "hub"), cell(_what(one)), style=style)
    return drawn


def _is_usual(one: HistoryEntry) -> bool:
    """Whether a device tells that all goes well."""
    return one.source == "event" and one.severity == "info" and one.by.startswith("d-")


def _add_steps(drawn: Table, run: Sequence[HistoryEntry]) -> None:
    """Add one line for what went well on some devices: which steps, and how many of them where not all."""
    devices = {one.by for one in run}
    steps = Counter(_step(one) for one in run)
    by = run[0].by if len(devices) == 1 else counted(len(devices), "device")
    what = ", ".join(step if count == len(devices) else f"{count} {step}" for step, count in steps.items())
    drawn.add_row(f"{run[-1].at:%H:%M:%S}", cell(by), cell(what), style="dim")


def _step(one: HistoryEntry) -> str:
    step = one.after.get("step")
    return step if isinstance(step, str) else one.what.removeprefix("deployment_")


def _what(one: HistoryEntry) -> str:
    """Return the message; of an audited action its name, as the line says already who did it."""
    return one.what if one.source == "audit" else one.message
