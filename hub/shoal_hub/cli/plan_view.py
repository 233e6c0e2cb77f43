"""How the CLI draws what a rollout would do: which device gets which bytes, by which way, when, and who is refused.

What is the same for every device is said once, above the table: a terminal has 80 columns, and most fleets are alike.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType

from shoal_client.fleet import Problem
from shoal_client.rollouts import PlannedDevice, RolloutPreview
from shoal_hub.cli.output import cell, size_text, split_alike, table_of
from shoal_hub.words import counted

SHOWN: Final = 50
"""Devices that are drawn one by one; `--json` has all."""
_NAMED: Final = 8
"""Devices held back that are named."""
_WAYS: Final = {
    "none": "nothing: it is there",
    "cache": "from its cache",
    "delta_to_come": "whole, or a delta that is being made",
    "broker": "whole",
    "https": "whole over HTTPS",
}
"""How a file comes, where the word alone would not say it."""


def draw_preview(preview: RolloutPreview) -> Group:
    """Return what a rollout would do, the first devices one by one."""
    told = [one for one in preview.devices if one.problem is None and not one.is_held_back]
    return Group(
        _headline(preview),
        *_concerns(preview),
        *(_variants(preview) if preview.variants else []),
        *_devices(told),
        *_held_back([_name(one) for one in preview.devices if one.is_held_back]),
        *_problems("REFUSED", [(one, one.problem) for one in preview.devices if one.problem]),
        *_problems("WARNED", [(one, one.warning) for one in told if one.warning]),
        _total(preview),
    )


def _headline(preview: RolloutPreview) -> str:
    waves = ", ".join(map(str, preview.waves))
    held_back = f", {preview.held_back} held back" if preview.held_back else ""
    return (
        f"{preview.model} version {preview.version}: {counted(sum(preview.waves), 'device')} in waves of {waves}"
        f"{held_back} (seed {preview.seed})"
    )


def _concerns(preview: RolloutPreview) -> list[str]:
    lines = []
    if preview.misfits:
        lines.append(f"[red]{counted(preview.misfits, 'device')} would be refused[/red]")
    if preview.warnings:
        lines.append(f"[yellow]{counted(preview.warnings, 'device')} may lack the memory[/yellow]")
    if preview.held_by_budget:
        held = counted(preview.held_by_budget, "device")
        lines.append(f"[yellow]{held} would wait for the byte budget of a month[/yellow]")
    if preview.not_reported:
        lines.append(f"{counted(preview.not_reported, 'device')} never reported: what is sent there is not known yet")
    return lines


def _variants(preview: RolloutPreview) -> list[RenderableType]:
    """Return the table of variants, by what compression measured; what it measured of none has no column."""
    columns: dict[str, list[str]] = {
        "SIZE": [size_text(one.file_bytes) for one in preview.variants],
        "ACCURACY": [cell(one.accuracy) for one in preview.variants],
        "P50 ms": [cell(one.latency_p50_ms) for one in preview.variants],
        "P95 ms": [cell(one.latency_p95_ms) for one in preview.variants],
        "MEMORY": [cell(_size(one.memory_bytes)) for one in preview.variants],
    }
    measured = {name: texts for name, texts in columns.items() if set(texts) != {cell(None)}}
    drawn = table_of("TARGET", "DEVICES", *measured)
    for index, one in enumerate(preview.variants):
        drawn.add_row(cell(one.target), str(one.devices), *(texts[index] for texts in measured.values()))
    missing = [name for name in columns if name not in measured]
    return [drawn, *([f"[dim]not measured: {', '.join(missing)}[/dim]"] if missing else [])]


def _devices(told: Sequence[PlannedDevice]) -> list[RenderableType]:
    """Return what is the same for all that are told, and a table of the first of them with what is not."""
    if not told:
        return []
    now = datetime.now(UTC)
    columns: dict[str, Callable[[PlannedDevice], str]] = {
        "FROM": lambda one: cell(one.from_version),
        "TARGET": lambda one: cell(one.target),
        "TRAVELS": _travels,
        "UPLINK": lambda one: cell(_size(one.uplink_bytes)),
        "HELD": _held,
        "DISK": lambda one: cell(_size(one.disk_bytes)),
        "P50 ms": lambda one: cell("" if one.latency_p50_ms is None else f"{one.latency_p50_ms:.3g}"),
        "MEMORY": lambda one: cell(_size(one.memory_bytes)),
        "MEASURED": _measured_on,
        "OPENS": lambda one: "now" if one.opens_at and one.opens_at <= now else cell(one.opens_at),
    }
    alike, different = split_alike({name: [text(one) for one in told] for name, text in columns.items()})
    drawn = table_of("WAVE", "DEVICE", *different)
    for index, one in enumerate(told[:SHOWN]):
        drawn.add_row(str((one.wave or 0) + 1), _name(one), *(cells[index] for cells in different.values()))
    rest = len(told) - SHOWN
    more = [f"[dim]and {rest} devices more: --json has all[/dim]"] if rest > 0 else []
    return [*([f"for each: {', '.join(alike)}"] if alike else []), drawn, *more]


def _held_back(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"held back to compare with: {', '.join(names[:_NAMED])}{more}"]


def _problems(title: str, found: Sequence[tuple[PlannedDevice, Problem]]) -> list[RenderableType]:
    if not found:
        return []
    drawn = table_of(title)
    drawn.add_column("REASON", overflow="fold")
    for one, problem in found[:SHOWN]:
        drawn.add_row(_name(one), cell(f"{problem.message}; {problem.remedy}"))
    rest = len(found) - SHOWN
    return [drawn, *([f"[dim]and {rest} devices more: --json has all[/dim]"] if rest > 0 else [])]


def _total(preview: RolloutPreview) -> str:
    saved = preview.whole_bytes - preview.transfer_bytes
    on_the_air = "" if preview.uplink_bytes is None else f"on the air: {size_text(preview.uplink_bytes)} for "
    by_deltas = f", {size_text(saved)} saved by deltas" if saved > 0 else ""
    return f"{on_the_air}{size_text(preview.transfer_bytes)} of files{by_deltas}"


def _name(one: PlannedDevice) -> str:
    return cell(one.name or one.device_id)


def _travels(one: PlannedDevice) -> str:
    return cell(f"{size_text(one.transfer_bytes)} {_WAYS.get(one.transfer, one.transfer)}")


def _held(one: PlannedDevice) -> str:
    """Return until when the month's byte budget holds a device back."""
    if not one.is_held_by_budget:
        return cell(None)
    until = f"until {one.held_until:%Y-%m-%d}" if one.held_until else "for good: no month has room for it"
    return f"by its budget {until}"


def _measured_on(one: PlannedDevice) -> str:
    if one.measured_on == "same_hardware":
        return f"on {one.measured_devices} like it"
    return cell("on the hub" if one.measured_on == "compression" else "")


def _size(value: int | None) -> str:
    return "" if value is None else size_text(value)
