"""How the CLI draws the history of drift and its causes: tables, a line of blocks for what one would rather see."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from rich.console import Group, RenderableType

from shoal_client.drift_history import CauseFeature, CauseHistogram, DriftCause, DriftHistory, FeatureHistory, Shares
from shoal_client.fleet import MovedEmbedding
from shoal_hub.cli.output import cell, table_of
from shoal_hub.words import counted

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_GAP: Final = "·"
_ASIDE: Final = 62
"""Columns that a feature's numbers take beside its line."""
_NARROWEST: Final = 16
_WIDEST: Final = 90
_BARS: Final = 50
_WIDE: Final = 100
"""Columns from which on a device's line names three features, and not one."""
_NONE: Final = "[dim]-[/dim]"


def sparkline(values: Sequence[float | None], *, most: float | None = None) -> str:
    """Return a block for each value, from 0 to the largest; a dot for none."""
    top = most if most is not None else max((one for one in values if one is not None), default=0.0)
    last = len(_BLOCKS) - 1
    return "".join(
        _GAP if one is None else _BLOCKS[min(last, round(last * one / top)) if top > 0 else 0] for one in values
    )


def gathered(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return at most so many values: each the largest of a stretch, that no peak is lost."""
    if len(values) <= width:
        return list(values)
    bounds = [round(at * len(values) / width) for at in range(width + 1)]
    parts = [[one for one in values[low:high] if one is not None] for low, high in pairwise(bounds)]
    return [max(part, default=None) for part in parts]


def draw_history(history: DriftHistory, width: int) -> Group:
    """Return a history: what was counted, then the features that lead with a line each."""
    head = f"[bold]{cell(history.model)} {history.version}[/bold] by {history.by}, {cell(history.of)}"
    if not history.periods:
        return Group(head, "[dim]There are no windows of this time.[/dim]")
    first, last = history.periods[0], history.periods[-1]
    room = max(_NARROWEST, min(_WIDEST, width - _ASIDE))
    drawn: list[RenderableType] = [
        f"{head}, {_at(first.started_at, history.by)} to {_at(last.started_at, history.by)} (UTC)"
    ]
    if history.source == "scores":
        drawn.append("[dim]by the scores of each device's days: their histograms are not merged[/dim]")
    drawn += [_periods(history, room), _features(history, room)]
    if len(history.features) < history.features_in_all:
        drawn.append(f"[dim]{len(history.features)} of {history.features_in_all} features; --limit shows more[/dim]")
    limits = history.thresholds
    drawn.append(
        f"[dim]drifted: PSI at least {limits.psi:g} and p at most {limits.p_value:g}; "
        "KS +x: the distance of the raw values may be larger by x[/dim]"
    )
    return Group(*drawn)


def _periods(history: DriftHistory, room: int) -> RenderableType:
    table = table_of("", "LAST", "OVER TIME")
    lines: list[tuple[str, Sequence[float | None]]] = [
        ("samples", [one.samples for one in history.periods]),
        ("devices tested", [one.devices for one in history.periods]),
        ("devices that drift", [one.devices_drifted for one in history.periods]),
        ("embedding, MMD²", [one.embedding.distance_squared if one.embedding else None for one in history.periods]),
    ]
    for name, values in lines:
        if any(one is not None for one in values):
            positive = [None if one is None else max(0.0, one) for one in values]
            table.add_row(name, _number(values[-1]), sparkline(gathered(positive, room)))
    return table


def _features(history: DriftHistory, room: int) -> RenderableType:
    table = table_of("FEATURE", "KS", "PSI", "P", "DEVICES", "SINCE", "KS OVER TIME")
    for one in history.features:
        values = one.ks if any(ks is not None for ks in one.ks) else one.device_ks_p90
        last = len(values) - 1
        since = _drifted_since(history, one)
        table.add_row(
            cell(one.name),
            _distance(values[last], one.resolution[last]),
            _number(one.psi[last]),
            _p_value(one.p_value[last]),
            _number(one.devices_drifted[last]),
            f"[red]{since}[/red]" if since else _NONE,
            sparkline(gathered(values, room), most=1.0),
        )
    return table


def _drifted_since(history: DriftHistory, one: FeatureHistory) -> str:
    """Return from when on a feature has drifted without a break to the end, as a cell; empty where it has not."""
    since = ""
    for period, is_drifted in zip(reversed(history.periods), reversed(one.is_drifted), strict=True):
        if is_drifted is False:
            break
        since = _at(period.started_at, history.by) if is_drifted else since
    return since


def draw_cause(cause: DriftCause, width: int) -> Group:
    """Return what is behind drift: since when, devices, what they share, features, and how histograms changed."""
    drawn: list[RenderableType] = [*_headline(cause)]
    if cause.cohorts:
        shares = [
            f"{cell(one.what)}={cell(one.value)} ({one.devices_drifted} of {one.devices})" for one in cause.cohorts
        ]
        drawn.append(f"what they share: {', '.join(shares)}")
    if len(cause.days) > 1:
        spread = sparkline(gathered([float(one.devices_drifted) for one in cause.days], _WIDEST))
        drawn.append(f"devices that drift, from {cause.days[0].started_at:%Y-%m-%d} on, by day: {spread}")
    drawn += _cause_devices(cause, 3 if width >= _WIDE else 1)
    if not cause.features:
        return Group(*drawn, "[dim]There are no windows of this time.[/dim]")
    drawn += ["", _cause_features(cause.features, is_wide=width >= _WIDE)]
    drawn += _embeddings(cause)
    for one in cause.features:
        if one.histogram is not None:
            drawn += ["", *_histogram(one.name, one.kind, one.histogram, max(_NARROWEST, min(_BARS, width - 12)))]
    if cause.predictions is not None:
        drawn += ["", _labels(cause.predictions)]
    return Group(*drawn)


def _headline(cause: DriftCause) -> list[str]:
    what = f"signal {cell(cause.signal)} ({cell(cause.rule)}), " if cause.signal else ""
    head = f"[bold]{cell(cause.model)} {cause.version}[/bold]: {what}at {cause.at:%Y-%m-%d %H:%M} (UTC)"
    devices = f"{cause.devices_drifted} of {counted(cause.devices_tested, 'device')} drift"
    if cause.since is None:
        return [head, f"{devices}; nothing shows drift"]
    day = f"{cause.since:%Y-%m-%d}" if cause.since_by == "day" else f"{cause.since:%Y-%m-%d %H:%M}"
    earlier = ", or for longer" if cause.is_earlier else ""
    lines = [head, f"{devices}, since [red]{day}[/red]{earlier} (known by the {cause.since_by})"]
    if cause.after is not None:
        whose = f"of {counted(cause.after.devices, 'device')}" if cause.compared == "devices" else "of the fleet"
        before = cause.before.samples if cause.before is not None else 0
        lines.append(f"compared {whose}: {before} samples before with {cause.after.samples} since then")
    return lines


def _cause_devices(cause: DriftCause, named: int) -> Iterable[RenderableType]:
    if not cause.devices:
        return
    table = table_of("DEVICE", "NAME", "GROUP", "SINCE", "KS", "PSI", "FEATURES")
    for one in cause.devices:
        since = f"{one.since:%Y-%m-%d}" if one.since else None
        more = f" +{len(one.features) - named}" if len(one.features) > named else ""
        names = ", ".join(one.features[:named]) + more
        row = (one.id, one.name, one.group, since)
        table.add_row(*(cell(part) for part in row), _number(one.ks), _number(one.psi), cell(names))
    yield ""
    yield table
    if len(cause.devices) < cause.devices_drifted:
        yield f"[dim]{len(cause.devices)} of {cause.devices_drifted} devices; --devices shows more[/dim]"


def _cause_features(features: Sequence[CauseFeature], *, is_wide: bool) -> RenderableType:
    """Return a table of what the tests say, without the columns that have nothing for any feature."""
    columns: dict[str, list[str]] = {
        "FEATURE": [cell(one.name) for one in features],
        "KS": [_distance(one.ks, one.resolution) for one in features],
        "WAS": [_share(one.before_ks) for one in features],
        "PSI": [_number(one.psi) for one in features],
        "P": [_p_value(one.p_value) for one in features],
        "JS": [_share(one.jensen_shannon) for one in features],
        "CHI²": [_chi_squared(one) for one in features],
        "MEAN": [f"{one.mean_change:+.3g}" if one.mean_change is not None else _NONE for one in features],
        "VAR": [f"x{one.variance_ratio:.2g}" if one.variance_ratio is not None else _NONE for one in features],
        "MISSING": [f"{one.missing_ratio:.1%}" if one.missing_ratio else _NONE for one in features],
        "DEVICES": [_number(one.devices_drifted) for one in features],
    }
    if is_wide:
        columns["SEEN BY"] = [cell(", ".join(one.seen_by).replace("_", "-")) for one in features]
    shown = {name: cells for name, cells in columns.items() if any(one != _NONE for one in cells)}
    table = table_of(*shown)
    for one, row in zip(features, zip(*shown.values(), strict=True), strict=True):
        table.add_row(*row, style="" if one.is_drifted else "dim")
    return table


def _chi_squared(one: CauseFeature) -> str:
    if one.chi_squared is None:
        return _NONE
    return f"{one.chi_squared:.4g} ({one.chi_squared_degrees})"


def _embeddings(cause: DriftCause) -> Iterable[str]:
    for name, stretch in (("before", cause.before), ("since then", cause.after)):
        moved: MovedEmbedding | None = stretch.embedding if stretch is not None else None
        if moved is not None:
            yield (
                f"embedding {name}: MMD² {moved.distance_squared:.3g}, floor {moved.floor:.2g}, "
                f"p {_p_value(moved.p_value)}, {moved.samples} samples"
            )


def _histogram(name: str, kind: str | None, histogram: CauseHistogram, width: int) -> Iterable[str]:
    """Yield a line of blocks for the reference, before and after: shares of bins, joined until they have room."""
    shares = [_shares(counts, width) for counts in (histogram.reference, histogram.before, histogram.after)]
    most = max((one for line in shares for one in line), default=0.0)
    edges = histogram.edges
    span = f", below {edges[0]:.4g} to above {edges[-1]:.4g}" if edges and kind != "categorical" else ""
    yield f"[bold]{cell(name)}[/bold][dim]{span}; share of bins, the largest {most:.1%}[/dim]"
    for label, line in zip(("reference", "before", "after"), shares, strict=True):
        yield f"  {label:9} {sparkline(line, most=most)}" if any(line) else f"  {label:9} [dim]nothing[/dim]"


def _shares(counts: Sequence[int], width: int) -> list[float]:
    total = max(1, sum(counts))
    columns = min(width, len(counts))
    bounds = [round(at * len(counts) / columns) for at in range(columns + 1)] if counts else [0]
    return [sum(counts[low:high]) / total for low, high in pairwise(bounds)]


def _labels(shares: Shares) -> RenderableType:
    table = table_of("PREDICTED", "REFERENCE", "BEFORE", "AFTER")
    totals = [max(1, sum(counts)) for counts in (shares.reference, shares.before, shares.after)]
    names = shares.labels or [str(place) for place in range(len(shares.reference))]
    for name, *counts in zip(names, shares.reference, shares.before, shares.after, strict=False):
        table.add_row(cell(name), *(f"{count / total:.1%}" for count, total in zip(counts, totals, strict=True)))
    return table


def _distance(value: float | None, resolution: float | None) -> str:
    """Return a distance, and beside it by how much that of the raw values may be larger."""
    if value is None:
        return _NONE
    return f"{value:.3f}" if resolution is None else f"{value:.3f} [dim]+{resolution:.3f}[/dim]"


def _share(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else _NONE


def _number(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{int(value)}" if value == int(value) else f"{value:.3g}"


def _p_value(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2g}" if value == 0 or math.log10(value) > -4 else "<1e-4"  # noqa: PLR2004 - four digits say enough


def _at(at: datetime, by: str) -> str:
    return f"{at:%Y-%m-%d}" if by == "day" else f"{at:%Y-%m-%d %H:%M}"
