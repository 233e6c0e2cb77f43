"""How the CLI draws rollouts: waves, counts, the time to the next wave, thresholds, bytes; and what a plan would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from shoal_client.rollouts import Deployment, HistoryEntry, PlannedDevice, RolloutDetail, RolloutPreview
from shoal_hub.cli.gates import draw_gates
from shoal_hub.cli.output import cell, size_text

SHOWN = 50
"""Devices of a plan, or after a command, that are drawn; `--json` has all."""
_WAYS = {
    "none": "none: it is there",
    "cache": "from its cache",
    "delta_to_come": "whole, or a delta that is being made",
    "broker": "whole",
    "https": "whole over HTTPS",
}
"""How a file comes, where the word alone would not say it."""
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


def draw_preview(preview: RolloutPreview) -> Group:
    """Return what a rollout would do, the first devices one by one."""
    headline = (
        f"{preview.model} version {preview.version}: {sum(preview.waves)} devices in waves of "
        f"{', '.join(map(str, preview.waves))}, {preview.held_back} held back (seed {preview.seed})"
    )
    lines = [headline]
    if preview.misfits:
        lines.append(f"[red]{preview.misfits} devices would be refused[/red]")
    if preview.warnings:
        lines.append(f"[yellow]{preview.warnings} devices may lack the memory[/yellow]")
    if preview.held_by_budget:
        lines.append(f"[yellow]{preview.held_by_budget} devices would wait for the byte budget of a month[/yellow]")
    if preview.not_reported:
        lines.append(f"{preview.not_reported} devices have never reported: what they get is not known yet")
    variants = _table("TARGET", "DEVICES", "SIZE", "ACCURACY", "P50 ms", "P95 ms", "MEMORY")
    for one in preview.variants:
        latency = [_measured(one.latency_p50_ms), _measured(one.latency_p95_ms)]
        variants.add_row(
            one.target,
            str(one.devices),
            size_text(one.file_bytes),
            _measured(one.accuracy),
            *latency,
            _bytes(one.memory_bytes),
        )
    columns = ("WAVE", "DEVICE", "FROM", "TARGET", "TRAVELS", "UPLINK", "P50 ms", "MEMORY", "MEASURED", "OPENS")
    devices = _table(*columns, "PROBLEM")
    for planned in preview.devices[:SHOWN]:
        devices.add_row(*_planned(planned))
    rest = len(preview.devices) - SHOWN
    more = [f"[dim]and {rest} devices more: --json has all[/dim]"] if rest > 0 else []
    saved = preview.whole_bytes - preview.transfer_bytes
    on_the_air = "" if preview.uplink_bytes is None else f"on the air: {size_text(preview.uplink_bytes)} for "
    total = f"{on_the_air}{size_text(preview.transfer_bytes)} of files" + (
        f", {size_text(saved)} saved by deltas" if saved > 0 else ""
    )
    return Group(*lines, variants, devices, *more, total)


def draw_history(entries: list[HistoryEntry]) -> Table:
    """Return what happened, a line each."""
    drawn = _table("AT", "BY", "WHAT", "MESSAGE")
    for one in entries:
        style = {"error": "red", "warning": "yellow"}.get(one.severity, "")
        drawn.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}", cell(one.by), cell(one.what), cell(one.message), style=style)
    return drawn


def _headline(rollout: RolloutDetail, now: datetime) -> str:
    wave = f"wave {min(rollout.current_wave + 1, len(rollout.waves))} of {len(rollout.waves)}"
    text = f"{rollout.id}: {rollout.model} version {rollout.version}, {cell(rollout.state)}, {wave}"
    if rollout.waits_for == "soak" and rollout.soaks_until is not None:
        text += f", watched for {_span((rollout.soaks_until - now).total_seconds())} more"
    elif rollout.waits_for is not None:
        text += f", {_WAITS[rollout.waits_for]}"
        if rollout.waits_for == "approval":
            text += f": shoal rollouts approve {rollout.id}"
    return text + (f"  {cell(rollout.reason)}" if rollout.reason else "")


def _waves(rollout: RolloutDetail) -> list[Table]:
    """Return the table of waves; one wave alone is told by the headline."""
    if len(rollout.waves) == 1 and "held_back" not in rollout.counts:
        return []
    drawn = _table("WAVE", "DEVICES", "NOW", "COUNTS")
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
    ids = [] if is_short else ["ID"]
    drawn = _table("WAVE", "DEVICE", *ids, "STATE", "STEP", "TARGET", "FORECAST", "FETCHED", is_short=is_short)
    drawn.add_column("PROBLEM", overflow="fold")
    for one in shown:
        problem = f"{one.problem.message}; {one.problem.remedy}" if one.problem else ""
        fetched, forecast = _size(one.fetched_bytes), _size(one.forecast_bytes)
        wave = "" if one.state == "held_back" else one.wave + 1
        step = f"waits for {one.waits_for}" if one.waits_for else one.step
        device = [one.device_name or one.device_id, *([] if is_short else [one.device_id])]
        row = (wave, *device, one.state, step, one.target, forecast, fetched)
        drawn.add_row(*(cell(value) for value in row), _in_a_line(cell(problem)) if is_short else cell(problem))
    others = sum(rollout.counts.values()) - len(shown)
    more = [f"[dim]and {others} devices more: shoal rollouts show {rollout.id}[/dim]"] if others > 0 else []
    return [*([drawn] if shown else []), *more]


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


def _planned(one: PlannedDevice) -> list[str]:
    found = one.problem or one.warning
    problem = f"{found.message}; {found.remedy}" if found else ""
    is_told = not (one.problem or one.is_held_back)
    travels = f"{size_text(one.transfer_bytes)} {_WAYS.get(one.transfer, one.transfer)}" if is_told else ""
    row = (
        "" if one.wave is None else one.wave + 1,
        one.name or one.device_id,
        one.from_version,
        "held back" if one.is_held_back else one.target,
        travels,
        _uplink(one) if is_told else "",
        _rounded(one.latency_p50_ms),
        _size(one.memory_bytes),
        _measured_on(one),
        one.opens_at,
        problem,
    )
    return [cell(value) for value in row]


def _uplink(one: PlannedDevice) -> str:
    """Return what the uplink carries, and until when the month's budget holds it back."""
    text = _size(one.uplink_bytes)
    if not one.is_held_by_budget:
        return text
    until = f"until {one.held_until:%Y-%m-%d}" if one.held_until else "for good: no month has room for it"
    return f"{text}, held by its budget {until}"


def _measured_on(one: PlannedDevice) -> str:
    if one.measured_on == "same_hardware":
        return f"{one.measured_devices} like it"
    return "hub's machine" if one.measured_on == "compression" else "not measured"


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _size(value: int | None) -> str:
    return "" if value is None else size_text(value)


def _measured(value: float | None) -> str:
    return "[dim]not measured[/dim]" if value is None else cell(value)


def _bytes(value: int | None) -> str:
    return "[dim]not measured[/dim]" if value is None else size_text(value)


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _table(*columns: str, is_short: bool = False) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="ellipsis" if is_short else "fold", no_wrap=is_short)
    return drawn
