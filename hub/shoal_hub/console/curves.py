"""Where the curves of a metric stand in its picture: of one run, or of several in one scale. Pure."""

from collections.abc import Sequence
from math import isfinite
from typing import Final, NamedTuple

from shoal_hub.tracking.curves import Curve

CURVE_WIDTH: Final = 480
CURVE_HEIGHT: Final = 160
"""Of the picture, in its own units."""
_ROOM: Final = 0.04
"""Of the scale, above the highest value and below the lowest."""


class CurveLine(NamedTuple):
    """A run's curve.

    Attributes:
        label: What it is called.
        place: Of the run among those shown, which decides its colour.
        stretches: Points of each unbroken stretch, as an SVG polyline takes them.
        last: The last value.
    """

    label: str
    place: int
    stretches: tuple[str, ...]
    last: float


class CurvePicture(NamedTuple):
    """The picture of one metric, from the lowest value at the bottom to the highest at the top.

    Attributes:
        name: The metric.
        low: The lowest value.
        high: The highest.
        first: The step at the left edge.
        last: The step at the right edge.
        lines: Of the runs that have measured it.
    """

    name: str
    low: float
    high: float
    first: int
    last: int
    lines: tuple[CurveLine, ...]


def picture_of(name: str, curves: Sequence[tuple[str, int, Curve]]) -> CurvePicture | None:
    """Return the picture of a metric; None where no run has measured a finite value of it.

    Args:
        name: The metric.
        curves: Label and place of each run, with steps and values in their order; a value that is not finite breaks
            the line.
    """
    finite = [(step, value) for _, _, curve in curves for step, value in curve if isfinite(value)]
    if not finite:
        return None
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    first, last = min(step for step, _ in finite), max(step for step, _ in finite)
    span = (high - low) or abs(high) or 1.0
    bottom, whole = low - _ROOM * span, (high - low or 0.0) + 2 * _ROOM * span

    def place_of(step: int, value: float) -> str:
        across = CURVE_WIDTH * (step - first) / max(1, last - first)
        down = CURVE_HEIGHT * (1 - (value - bottom) / whole)
        return f"{across:.1f},{down:.1f}"

    lines = []
    for label, place, curve in curves:
        known = [value for _, value in curve if isfinite(value)]
        if known:
            stretches = tuple(
                " ".join(place_of(step, value) for step, value in stretch) for stretch in _stretches(curve)
            )
            lines.append(CurveLine(label, place, stretches, known[-1]))
    return CurvePicture(name, low, high, first, last, tuple(lines))


def _stretches(curve: Curve) -> list[Curve]:
    found: list[list[tuple[int, float]]] = [[]]
    for step, value in curve:
        if isfinite(value):
            found[-1].append((step, value))
        elif found[-1]:
            found.append([])
    return [one for one in found if one]
