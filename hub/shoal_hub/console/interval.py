"""Where the parts of a gate's interval stand in its picture: effect, interval, no effect, margins. Pure."""

from typing import Any, Final, NamedTuple

WIDTH: Final = 220
"""Of the picture, in its own units; no effect stands in the middle."""
_ROOM: Final = 1.1


class Interval(NamedTuple):
    """Places from the left, 0 to `WIDTH`; an open end of the interval stands at the picture's edge."""

    low: float
    high: float
    effect: float
    margins: tuple[float, ...]


def interval_of(metric: dict[str, Any]) -> Interval | None:
    """Return where a metric's parts stand, to one scale; None where nothing was compared.

    Args:
        metric: A metric of a gate's look, as it is kept.
    """
    effect, lower, upper = metric["effect"], metric["lower"], metric["upper"]
    if effect is None:
        return None
    margin, worse = float(metric["margin"]), metric["worse"]
    margins = [sign * margin for sign, way in ((-1, "lower"), (1, "higher")) if worse in {way, "either"}]
    known = [abs(value) for value in (effect, lower, upper, margin) if value is not None]
    half = max(known) * _ROOM

    def place(value: float | None, edge: float) -> float:
        return round(WIDTH / 2 * (1 + value / half), 1) if value is not None else edge

    return Interval(
        place(lower, 0.0), place(upper, WIDTH), place(effect, 0.0), tuple(place(one, 0.0) for one in margins)
    )
