"""How the CLI draws rollouts: waves, counts, the time to the next wave, thresholds, bytes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from shoal_client.rollouts import Deployment, RolloutDetail
from shoal_hub.cli.gates import draw_gates
from shoal_hub.cli.output import cell, size_text, split_alike, table_of
from shoal_hub.words import counted

SHOWN = 50
"""Devices after a command that are drawn; `--json` has all."""
_OF_CONCERN = {"failed", "timed_out", "working", "assigned"}
WATCHED = 200
"""Devices that are read of a rollout while it is watched: more than a screen has lines."""
_AROUND = 3
"""Lines of a screen beside head and devices: the table's own head, how many more there are, the cursor's."""
_WAITS = {
    "start": "waits for its start",
    "deltas": "waits for its deltas",
    "approval": "waits for approval",
    "gate": "waits for its gate",
}


def draw(rollout: RolloutDetail, now: datetime | None = None) -> Group:
    """Return a rollout as a headline, its waves, its thresholds, and a table of its deployments.

    Args:
        rollout: The rollout.
        now: The clock, for how long a wave is still watched.
    """
    return Group(*_head(rollout, now or datetime.now(UTC)), *_deployments(rollout, rollout.deployments))


def draw_briefly(rollout: RolloutDetail) -> Group:
    """Return a rollout with the first of its devices that have failed or are at it: after a command, or at its end."""
    shown = [one for one in rollout.deployments if one.state in _OF_CONCERN][:SHOWN]
    return Group(*_head(rollout, datetime.now(UTC)), *_deployments(rollout, shown))


@dataclass(frozen=True)
class Watched:
    """A rollout as it is watched: it fills the screen and no more, with as many devices as there is room for."""

    rollout: RolloutDetail

    def __rich_console__(self, terminal: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the head as a whole, and a line for each of the first devices below it."""
        head = Group(*_head(self.rollout, datetime.now(UTC)))
        room = options.max_height - len(terminal.render_lines(head, options.update(height=None))) - _AROUND
        yield head
        yield from _deployments(self.rollout, self.rollout.deployments[: max(0, room)], is_short=True)


def _headline(rollout: RolloutDetail, now: datetime) -> str:
    wave = f"wave {min(rollout.current_wave + 1, len(rollout.waves))} of {len(rollout.waves)}"
    text = f"{rollout.id}: {rollout.model} version {rollout.version}, {cell(rollout.state)}, {wave}"
    if rollout.waits_for == "soak" and rollout.soaks_until is not None:
        text += f", watched for {_span((rollout.soaks_until - now).total_seconds())} more"
    elif rollout.waits_for is not None:
        text += f", {_WAITS[rollout.waits_for]}"
        if rollout.waits_for == "approval":
            text += f": shoal rollouts approve {rollout.id}"
    if rollout.returning:
        text += f", {counted(rollout.returning, 'device')} on the way back"
    return text + (f"  {cell(rollout.reason)}" if rollout.reason else "")


def _waves(rollout: RolloutDetail) -> list[Table]:
    """Return the table of waves; one wave alone is told by the headline."""
    if len(rollout.waves) == 1 and "held_back" not in rollout.counts:
        return []
    drawn = table_of("WAVE", "DEVICES", "NOW", "COUNTS")
    for number, (size, counts) in enumerate(zip(rollout.waves, rollout.wave_counts, strict=False)):
        is_now = not rollout.has_ended and number == rollout.current_wave
        now = f"{rollout.in_flight} at it" if is_now else ""
        drawn.add_row(str(number + 1), str(size), now, cell(dict(sorted(counts.items()))))
    if held_back := rollout.counts.get("held_back"):
        drawn.add_row("-", str(held_back), "", "held back")
    return [drawn]


def _thresholds(rollout: RolloutDetail) -> list[str]:
    return [
        f"{one.description}: {one.failures} of {one.executed} so far{', [red]crossed[/red]' if one.is_crossed else ''}"
        for one in rollout.thresholds
    ]


def _head(rollout: RolloutDetail, now: datetime) -> list[RenderableType]:
    """Return everything but the devices: the wave, its gate and the bytes are to be seen however many there are."""
    lines: list[RenderableType] = [_headline(rollout, now), *_waves(rollout), *_thresholds(rollout)]
    without = [f"[dim]{cell(rollout.why_no_last_gate)}[/dim]"] if rollout.why_no_last_gate else []
    return [*lines, *draw_gates(rollout.gates), *without, *_traffic(rollout)]


def _deployments(
    rollout: RolloutDetail, shown: Sequence[Deployment], *, is_short: bool = False
) -> list[RenderableType]:
    """Return the table of some deployments, each in a line if it is to be short, and how many others there are."""
    steps = [f"waits for {one.waits_for}" if one.waits_for else one.step for one in shown]
    columns = {
        "STATE": [cell(one.state) for one in shown],
        "STEP": [cell(one) for one in steps],
        "TARGET": [cell(one.target) for one in shown],
        "FORECAST": [cell(_size(one.forecast_bytes)) for one in shown],
        "FETCHED": [cell(_size(one.fetched_bytes)) for one in shown],
    }
    names = Counter(one.device_name or one.device_id for one in shown)
    alike, different = ([], columns) if is_short else split_alike(columns)  # a table that is watched keeps its columns
    drawn = table_of("WAVE", "DEVICE", *different)
    drawn.add_column("PROBLEM", overflow="fold")
    for index, one in enumerate(shown):
        problem = cell(f"{one.problem.message}; {one.problem.remedy}" if one.problem else "")
        wave = "" if one.state == "held_back" else one.wave + 1
        name = one.device_name or one.device_id
        device = name if names[name] == 1 else f"{name} {one.device_id}"  # names are labels
        row = (cell(wave), cell(device), *(cells[index] for cells in different.values()))
        drawn.add_row(*row, _in_a_line(problem) if is_short else problem)
    others = sum(rollout.counts.values()) - len(shown)
    more = [f"[dim]and {others} devices more: shoal rollouts show {rollout.id}[/dim]"] if others > 0 else []
    said = [f"for each: {', '.join(alike)}"] if alike else []
    return [*said, *([drawn] if shown else []), *more]


def _in_a_line(markup: str) -> Text:
    """Return a text that is cut where its column ends; the column gives way to the others."""
    text = Text.from_markup(markup, overflow="ellipsis")
    text.no_wrap = True
    return text


def _traffic(rollout: RolloutDetail) -> list[str]:
    """Return the line on what travelled, once a device has told."""
    if not rollout.whole_bytes:
        return []
    saved = 1 - rollout.fetched_bytes / rollout.whole_bytes
    ratio = f", {int(100 * saved)}% saved" if saved > 0 else ""  # rounded down: something has travelled
    fetched = f"fetched {size_text(rollout.fetched_bytes)} of {size_text(rollout.whole_bytes)} of model files{ratio}"
    told, of_all = size_text(rollout.forecast_bytes), size_text(rollout.forecast_total_bytes)
    return [f"{fetched}; forecast: {told} for these devices, {of_all} for all"]


def _size(value: int | None) -> str:
    return "" if value is None else size_text(value)


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
