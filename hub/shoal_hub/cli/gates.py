"""A rollout's gate on the command line: how it is given, and how its looks are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from shoal_client.rollouts import Gate, GateMetric
from shoal_hub.cli.output import cell, has_room, table_of

_STYLES: Final = {"advance": "green", "abort": "red", "hold": "yellow", "not_tested": "yellow"}


def parse_gate(text: str) -> dict[str, Any]:
    """Return the metric of `error_rate`, `error_rate:0.02` or `memory:100:tolerance=20:weight=0.5`.

    Raises:
        typer.BadParameter: It is none.
    """
    name, *rest = text.split(":")
    parts = [part.split("=", 1) if "=" in part else ["margin", part] for part in rest]
    try:
        numbers = {key: float(value) for key, value in parts}
    except ValueError:
        numbers = {"": 0.0}
    if not numbers.keys() <= {"margin", "tolerance", "weight"}:
        msg = f"{text!r} is no gate like error_rate, error_rate:0.02 or memory:100:tolerance=20:weight=0.5"
        raise typer.BadParameter(msg, param_hint="--gate")
    return {"name": name, **numbers}


def draw_gates(gates: list[Gate]) -> list[RenderableType]:
    """Return the latest look: its verdict in a line, and each metric's numbers; of earlier waves the line alone."""
    if not gates:
        return []
    return [*(_line(gate) for gate in gates), _Metrics(gates[-1].metrics)]


@dataclass(frozen=True)
class _Metrics:
    """The numbers of one look, a line for each metric; where there is no room for them, without units and samples."""

    metrics: Sequence[GateMetric]

    def __rich_console__(self, terminal: Console, options: ConsoleOptions) -> RenderResult:
        wide = self._table(is_short=False)
        yield wide if has_room(terminal, wide, options.max_width) else self._table(is_short=True)

    def _table(self, *, is_short: bool) -> Table:
        drawn = table_of("METRIC", "VERDICT", "CANARIES", "CONTROLS", "EFFECT", "INTERVAL", "MARGIN")
        for metric in self.metrics:
            drawn.add_row(*_row(metric, is_short=is_short))
        return drawn


def _line(gate: Gate) -> str:
    style = _STYLES[gate.verdict]
    tested = "" if gate.tested == gate.verdict else f" ({gate.tested.replace('_', ' ')})"
    spent = f"alpha spent {gate.alpha_spent:.3g}"
    return f"gate of wave {gate.wave + 1}: [{style}]{gate.verdict}{tested}[/{style}], {spent}: {cell(gate.reason)}"


def _row(metric: GateMetric, *, is_short: bool) -> tuple[str, ...]:
    verdict: str = metric.verdict
    if metric.limit is not None:
        verdict = "not tested" if is_short else f"not tested; limit: {metric.limit.verdict}"
    style = _STYLES[metric.limit.verdict if metric.limit else metric.verdict]
    sides = [
        f"{_number(one.value)} ({one.devices}{'' if is_short else f' devices, {_count(one.samples)}'})"
        for one in (metric.canary, metric.control)
    ]
    interval = f"{_number(metric.lower)} to {_number(metric.upper)}" if metric.lower is not None else ""
    return (
        metric.name if is_short else f"{metric.name}, {metric.unit}",
        f"[{style}]{verdict}[/{style}]",
        *sides,
        _number(metric.effect),
        interval,
        f"{metric.margin:g}",
    )


def _count(samples: float) -> str:
    return f"{samples:.0f}" if samples >= 100 else f"{samples:.3g}"  # noqa: PLR2004 - days of a device are few


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - four digits and no exponent
