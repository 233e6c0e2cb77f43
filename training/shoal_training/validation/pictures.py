"""Draws a report's pictures as SVG: how values are spread, and what is missing. Nothing is loaded from elsewhere."""

import html
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from shoal_training.validation.profile import ColumnProfile

WIDTH: Final = 320
HEIGHT: Final = 90
_BAR: Final = "#2a78d6"
_BEFORE: Final = "#eb6834"
_TRACK: Final = "#e8ecf0"
_INK: Final = "#52606d"
_ROW: Final = 18


def spread(profile: ColumnProfile) -> str:
    """Return the picture of a column: a histogram, with a line of the version before, or bars of frequent texts."""
    if profile.counts:
        return _histogram(profile)
    return _texts(profile) if profile.top else ""


def missing_bars(profiles: Sequence[ColumnProfile]) -> str:
    """Return one picture of the share of missing values of each column that has some; without any, an empty text."""
    rows = [(one.name, one.missing_ratio) for one in sorted(profiles, key=lambda one: -one.missing_ratio)]
    rows = [one for one in rows if one[1] > 0]
    bars = [
        _bar(at, name, ratio, f"{ratio:.2%}" if ratio < 1 else "all", 2 * WIDTH)
        for at, (name, ratio) in enumerate(rows)
    ]
    return _svg(2 * WIDTH, _ROW * len(rows), "Share of missing values by column", "".join(bars)) if rows else ""


def _histogram(profile: ColumnProfile) -> str:
    most, each = max(profile.counts), WIDTH / len(profile.counts)
    bars = "".join(
        f'<rect x="{at * each:.1f}" y="{HEIGHT * (1 - count / most):.1f}" width="{max(each - 1, 0.5):.1f}" '
        f'height="{HEIGHT * count / most:.1f}" fill="{_BAR}"><title>{count:,}</title></rect>'
        for at, count in enumerate(profile.counts)
        if count
    )
    line = ""
    if sum(profile.before) and len(profile.before) == len(profile.counts):
        scale = sum(profile.counts) / sum(profile.before)
        heights = [HEIGHT * (1 - min(1.0, count * scale / most)) for count in profile.before]
        points = " ".join(f"{(at + 0.5) * each:.1f},{height:.1f}" for at, height in enumerate(heights))
        line = f'<polyline points="{points}" fill="none" stroke="{_BEFORE}" stroke-width="1.5"/>'
    ends = (
        f'<text x="0" y="{HEIGHT + 14}">{_shown(profile.low, is_time=profile.is_time)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{_shown(profile.high, is_time=profile.is_time)}</text>'
    )
    return _svg(WIDTH, HEIGHT + 18, f"Histogram of {profile.name}", bars + line + ends)


def _texts(profile: ColumnProfile) -> str:
    most = profile.top[0][1]
    bars = [_bar(at, text, count / most, f"{count:,}", WIDTH) for at, (text, count) in enumerate(profile.top)]
    return _svg(WIDTH, _ROW * len(bars), f"Frequent values of {profile.name}", "".join(bars))


def _bar(at: int, name: str, ratio: float, told: str, width: int) -> str:
    """Return a bar with what it is of before and its figure behind."""
    start, room, top = width * 0.4, width * 0.42, at * _ROW
    short = name if len(name) <= 24 else name[:23] + "…"  # noqa: PLR2004 - that fit before a bar
    return (
        f'<text x="0" y="{top + 13}">{html.escape(short) or "(empty)"}<title>{html.escape(name)}</title></text>'
        f'<rect x="{start:.0f}" y="{top + 3}" width="{room:.1f}" height="12" fill="{_TRACK}"/>'
        f'<rect x="{start:.0f}" y="{top + 3}" width="{room * ratio:.1f}" height="12" fill="{_BAR}"/>'
        f'<text x="{width}" y="{top + 13}" text-anchor="end">{told}</text>'
    )


def _svg(width: int, height: int, label: str, inner: str) -> str:
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-size="11" fill="{_INK}">{inner}</svg>'
    )


def _shown(value: float, *, is_time: bool) -> str:
    if not is_time:
        return f"{value:.4g}"
    try:
        return f"{datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=value):%Y-%m-%d %H:%M}"
    except OverflowError:
        return f"{value:.4g} s"
