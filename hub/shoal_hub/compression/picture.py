"""Draws what was chosen among what: for each target class a panel of latency and lost points, as SVG. Pure."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from shoal_hub.compression.figures import Choice

_WIDTH, _HEIGHT, _LEFT, _TOP = 520, 300, 56, 34
_PLOT: Final = (_WIDTH - _LEFT - 24, _HEIGHT - _TOP - 46)
_STYLE: Final = (
    "text{font:11px sans-serif;fill:#1f2933}.axis{stroke:#9aa5b1}.dot{fill:#b8c1cc}.front{fill:#2a78d6}"
    ".chosen{fill:none;stroke:#eb6834;stroke-width:2}"
)

_LETTER, _LINE = 6.2, 12.0
"""About the width and the height of a letter, in pixels."""


class _Box(NamedTuple):
    x: float
    y: float
    width: float


def draw_choices(choices: Sequence[Choice]) -> str:
    """Return the picture; with a panel that says so for a class without figures."""
    panels = [_panel(choice, number * _HEIGHT) for number, choice in enumerate(choices)]
    height = _HEIGHT * max(1, len(panels))
    body = "".join(panels) or f'<text x="20" y="{_TOP}">Nothing has been chosen yet</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img">'
    return f"{head}<title>Latency and lost points of each candidate</title><style>{_STYLE}</style>{body}</svg>"


def _panel(choice: Choice, top: int) -> str:
    points = [(one.name, one.cost("latency"), one.cost("accuracy")) for one in choice.candidates]
    points = [one for one in points if math.isfinite(one[1]) and math.isfinite(one[2])]
    title = f'<text x="20" y="{top + 20}">{escape(choice.target_class)}, {escape(_where(choice))}</text>'
    if not points:
        return f'{title}<text x="20" y="{top + 44}">no candidate has figures</text>'
    most_ms = max(x for _, x, _ in points) or 1.0
    low, high = min(0.0, *(y for _, _, y in points)), max(0.1, *(y for _, _, y in points))
    left, bottom = _LEFT, top + _TOP + _PLOT[1]
    axes = f'<path class="axis" fill="none" d="M{left} {top + _TOP}V{bottom}H{left + _PLOT[0]}"/>'
    labels = (
        f'<text x="{left + _PLOT[0]}" y="{bottom + 32}" text-anchor="end">latency p50, up to {most_ms:.3g} ms</text>'
        f'<text x="4" y="{top + _TOP + 4}">{high:.2f}</text><text x="4" y="{bottom}">{low:.2f}</text>'
        f'<text x="{left}" y="{top + _TOP - 4}">points lost</text>'
    )
    dots: list[str] = []
    taken: list[_Box] = []
    for name, x, y in sorted(points, key=lambda one: one[1]):
        at = (left + 0.95 * _PLOT[0] * x / most_ms, bottom - _PLOT[1] * (y - low) / (high - low))
        dots.append(_dot(choice, name, at, _free_place(name, at, taken)))
    return f"{title}{axes}{labels}{''.join(dots)}"


def _free_place(name: str, at: tuple[float, float], taken: list[_Box]) -> tuple[float, float]:
    """Return where a dot's name begins, above those that stand there already and within the picture; note its place."""
    width = _LETTER * len(name)
    x, y = min(at[0] + 7, _WIDTH - width), at[1] - 6
    while any(abs(other.y - y) < _LINE and other.x < x + width and x < other.x + other.width for other in taken):
        y -= _LINE
    taken.append(_Box(x, y, width))
    return x, y


def _dot(choice: Choice, name: str, at: tuple[float, float], named_at: tuple[float, float]) -> str:
    place = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}"'
    kind = "front" if name in choice.front else "dot"
    ring = f'<circle class="chosen" {place} r="9"/>' if name == choice.chosen else ""
    text = f'<text x="{named_at[0]:.1f}" y="{named_at[1]:.1f}">{escape(name)}</text>'
    return f'<circle class="{kind}" {place} r="5"/>{ring}{text}'


def _where(choice: Choice) -> str:
    if choice.basis == "predicted":
        worst = max(error.worst for error in choice.errors.values())
        return f"predicted for {', '.join(choice.errors)}, at worst {worst:.0%} off"
    return "measured on " + (", ".join(choice.devices) if choice.basis == "devices" else "the hub's machine")
