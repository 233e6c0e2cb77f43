"""`shoal performance`: how right a model is, by labels that came back and by an estimate without them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, cast

import typer

from shoal_client.performance import Average, PerformanceBy, PerformanceReport, PerformanceRow
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, cell, console, show, table

_BY: Final = ("model", "version", "device", "group", "slice", "window")
_AVERAGES: Final = ("binary", "macro", "micro", "weighted")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}
_SCORES: Final = ("accuracy", "precision", "recall", "f1", "auc")
_ERRORS: Final = ("mae", "rmse", "bias", "r2")
_THRESHOLDS: Final = {"p95_latency_ms": "p95_latency"}
_BARS: Final = "▁▂▃▄▅▆▇█"
By = Annotated[str, typer.Option(help=f"What rows tell apart: {', '.join(_BY)}.", metavar="WHAT")]
Since = Annotated[str, typer.Option(help="How far back, as 90m, 24h or 7d.")]


def performance(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    by: By = "model",
    version: Annotated[int | None, typer.Option(help="Of this version alone.", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="Of this device alone, by id or name.")] = None,
    group: Annotated[str | None, typer.Option(help="Of the devices that are in this group now.")] = None,
    slice_name: Annotated[str | None, typer.Option("--slice", help="Of the samples of this slice.")] = None,
    since: Since = "24h",
    step: Annotated[str | None, typer.Option(help="How long a window is, as 10m; with --by window.")] = None,
    average: Annotated[
        str | None, typer.Option(help=f"How classes become one number: {', '.join(_AVERAGES)}.", metavar="HOW")
    ] = None,
    classes: Annotated[bool, typer.Option("--classes", help="Show each class as well.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=1, max=1000)] = 200,
    as_json: AsJson = False,
) -> None:
    """Show how right a model is: accuracy, precision, recall, F1, AUC, errors of numbers, and metrics of your own.

    A value beyond its threshold is marked with an exclamation mark; change thresholds with shoal alerts thresholds. The
    estimate is made without labels, of how sure the model is: it can not see concept drift.
    """
    if by not in _BY:
        raise typer.BadParameter(f"expected one of {', '.join(_BY)}", param_hint="--by")
    if average is not None and average not in _AVERAGES:
        raise typer.BadParameter(f"expected one of {', '.join(_AVERAGES)}", param_hint="--average")
    with connect() as client:
        report = client.performance.read(
            model,
            by=cast("PerformanceBy", by),
            version=version,
            device=find_device(client, device, decommissioned=True).id if device else None,
            group=group,
            slice_name=slice_name,
            since=datetime.now(UTC) - _duration(since, "--since"),
            step_s=int(_duration(step, "--step").total_seconds()) if step else None,
            average=cast("Average | None", average),
            detail=classes,
            limit=limit,
        )
    show(report, as_json=as_json, draw=lambda: _draw(report))


def _duration(text: str, hint: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text)
    if found is None:
        raise typer.BadParameter(f"{text} found, expected a number and m, h or d, as 24h", param_hint=hint)
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _draw(report: PerformanceReport) -> None:
    scores = [name for name in _SCORES if any(getattr(row, name) is not None for row in report.rows)]
    errors = [name for name in _ERRORS if any(getattr(row, name) is not None for row in report.rows)]
    has_values = any(row.valued for row in report.rows)
    columns = [report.by.upper(), "SAMPLES", "LABELLED", *(["VALUED"] if has_values else [])]
    columns += [name.upper() for name in (*scores, *errors)] + ["P95 MS", "ERRORS", "ESTIMATE"]
    rows = [
        [
            _name_of(row, report),
            row.samples,
            row.labelled,
            *([row.valued] if has_values else []),
            *(_value(row, name) for name in (*scores, *errors)),
            _value(row, "p95_latency_ms"),
            _value(row, "error_rate"),
            _estimate(row),
        ]
        for row in report.rows
    ]
    table(columns, rows, empty="No window of it ended in this time.")
    if report.by == "window":
        _plot(report)
    for row in report.rows:
        _draw_custom(row, report)
        _draw_classes(row, report)
    if report.has_more:
        console.print("There is more than these rows: --limit")
    if any(row.estimate is not None for row in report.rows):
        console.print("ESTIMATE is without labels and can not see concept drift; labels overrule it.")


def _name_of(row: PerformanceRow, report: PerformanceReport) -> str:
    return {
        "model": report.model,
        "version": str(row.version),
        "device": row.device_name or row.device_id or "",
        "group": row.group or "(none)",
        "slice": row.slice or "",
        "window": row.begins_at.strftime("%Y-%m-%d %H:%M") if row.begins_at else "",
    }[report.by]


def _value(row: PerformanceRow, name: str) -> str | None:
    """Return a metric as text, marked where it is beyond its threshold."""
    value: float | None = getattr(row, name)
    if value is None:
        return None
    judged = row.judged.get(_THRESHOLDS.get(name, name))
    return f"{value:.4g}{'' if judged is None or judged.holds else ' !'}"


def _estimate(row: PerformanceRow) -> str | None:
    one = row.estimate
    if one is None:
        return None
    rests = {"labels": "", "held_out": ", held-out", "nothing": ", uncalibrated"}.get(one.calibrated_by, "")
    return f"{one.accuracy:.3f} ({one.low:.3f} to {one.high:.3f}{rests})"


def _plot(report: PerformanceReport) -> None:
    """Draw the metrics over time as lines of bars, from 0 to 1, or to the largest of an error; no value is a gap."""
    rows = _by_stretch(report)
    for name in (*_SCORES, "mae", "rmse"):
        values = [None if row is None else getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            most = 1.0 if name in _SCORES else max(value for value in values if value is not None) or 1.0
            bars = "".join(
                " " if value is None else _BARS[min(len(_BARS) - 1, int(value / most * len(_BARS)))] for value in values
            )
            console.print(f"{name:>10} {bars} 0 to {most:.4g}")


def _by_stretch(report: PerformanceReport) -> list[PerformanceRow | None]:
    """Return the rows from the first to the last stretch of time, None for one in which no window ended."""
    began = [row.begins_at for row in report.rows if row.begins_at is not None]
    if not began or not report.step_s:
        return []
    places = {
        round((row.begins_at - began[0]).total_seconds() / report.step_s): row
        for row in report.rows
        if row.begins_at is not None
    }
    return [places.get(place) for place in range(max(places) + 1)]


def _draw_custom(row: PerformanceRow, report: PerformanceReport) -> None:
    if row.custom and report.by != "window":
        console.print(f"\nMetrics of applications, {cell(_name_of(row, report))}")
        columns = ("METRIC", "VALUES", "MEAN", "DEVIATION", "LEAST", "MOST")
        rows = [
            (one.name, one.values, *(_number(getattr(one, name)) for name in ("mean", "standard_deviation")),
             _number(one.least), _number(one.most))
            for one in row.custom
        ]  # fmt: skip
        table(columns, rows, empty="")


def _draw_classes(row: PerformanceRow, report: PerformanceReport) -> None:
    if row.classes:
        console.print(f"\nClasses, {cell(_name_of(row, report))}")
        columns = ("CLASS", "TRULY", "ANSWERED", "PRECISION", "RECALL", "F1")
        rows = [
            (one.label, one.support, one.answered, _number(one.precision), _number(one.recall), _number(one.f1))
            for one in row.classes
            if one.support or one.answered
        ]
        table(columns, rows, empty="No label came back.")


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
