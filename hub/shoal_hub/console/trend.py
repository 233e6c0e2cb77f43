"""Where the points of a metric over time stand in its picture. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

TREND_WIDTH: Final = 640
TREND_HEIGHT: Final = 120


class Trend(NamedTuple):
    """A picture of metrics over time, from 0 at the bottom to `most` at the top.

    Attributes:
        most: What the top stands for.
        lines: By name, points of each unbroken stretch, as an SVG polyline takes them.
        threshold: How far down the threshold stands; None: there is none.
    """

    most: float
    lines: dict[str, list[str]]
    threshold: float | None


def trend_of(
    series: Mapping[str, Sequence[tuple[datetime, float | None]]],
    since: datetime,
    until: datetime,
    threshold: float | None,
    most: float = 1.0,
) -> Trend:
    """Return where the points of some metrics stand; a time without a value breaks a line.

    Args:
        series: By name, times in order and values from 0 to `most`.
        since: What the left edge stands for.
        until: What the right edge stands for.
        threshold: Of the metric.
        most: What the top stands for.
    """
    whole_s = max(1.0, (until - since).total_seconds())

    def down(value: float) -> float:
        return round(TREND_HEIGHT * (1 - min(max(value / most, 0.0), 1.0)), 1)

    lines: dict[str, list[str]] = {}
    for name, points in series.items():
        stretches: list[list[str]] = [[]]
        for at, value in points:
            if value is None:
                stretches.append([])
            else:
                across = round(TREND_WIDTH * (at - since).total_seconds() / whole_s, 1)
                stretches[-1].append(f"{across},{down(value)}")
        lines[name] = [" ".join(one) for one in stretches if one]
    return Trend(most, lines, None if threshold is None else down(threshold))
