"""Where the lines of drift's pictures run: outlines of histograms before and after, and a distance over time. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from shoal_hub.drift_history.public import CauseHistogram

PICTURE_WIDTH: Final = 360
HEIGHT: Final = 90
"""Of a picture, in its own units."""
_COLUMNS: Final = 60
"""Bins of a histogram are joined to so many at most."""
_ROOM: Final = 1.05


class Outlines(NamedTuple):
    """The outlines of three histograms to one scale, as SVG path data; empty where nothing was counted.

    Attributes:
        most: The largest share of a column, 0 to 1: the picture's height.
    """

    reference: str
    before: str
    after: str
    most: float


def outlines_of(histogram: CauseHistogram) -> Outlines:
    """Return the outlines of a feature's histograms: shares of its bins, joined until they have room."""
    shares = [_shares(counts) for counts in (histogram.reference, histogram.before, histogram.after)]
    most = max((one for line in shares for one in line), default=0.0)
    reference, before, after = (_outline(line, most * _ROOM) for line in shares)
    return Outlines(reference, before, after, most)


def curve_of(values: Sequence[float | None]) -> str:
    """Return a line through values from 0 to 1 as SVG path data; it breaks where there is none."""
    step = PICTURE_WIDTH / max(1, len(values) - 1)
    parts: list[str] = []
    is_down = False
    for place, value in enumerate(values):
        if value is None:
            is_down = False
            continue
        height = HEIGHT * (1 - min(max(value, 0.0), 1.0))
        parts.append(f"{'L' if is_down else 'M'}{place * step:.1f} {height:.1f}")
        if not is_down:
            parts.append("h0.1")  # a value alone is a dot
        is_down = True
    return "".join(parts)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    if total == 0:
        return []
    columns = min(_COLUMNS, len(counts))
    bounds = [round(at * len(counts) / columns) for at in range(columns + 1)]
    return [sum(counts[low:high]) / total for low, high in pairwise(bounds)]


def _outline(shares: Sequence[float], most: float) -> str:
    if not shares:
        return ""
    width = PICTURE_WIDTH / len(shares)
    tops = [f"V{HEIGHT * (1 - share / most):.1f}H{(place + 1) * width:.1f}" for place, share in enumerate(shares)]
    return f"M0 {HEIGHT}{''.join(tops)}V{HEIGHT}Z"
