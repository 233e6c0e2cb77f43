"""Draws what each layer loses, as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shoal_compression.verdict import Layer

NAMES: Final = ("sensitivity.png", "sensitivity.svg")
MOST_LAYERS: Final = 60
"""The picture's; more are in the report."""
_INK: Final = "#1f2933"
_BAR: Final = "#2a78d6"
_OWN: Final = "#eb6834"
_HIGHEST_DB: Final = 80.0
"""Above it nothing is lost that anybody could see."""


def draw_sensitivity(layers: Sequence[Layer], title: str, folder: Path) -> tuple[str, ...]:
    """Write the pictures, and return their names; without layers there is none."""
    if not layers:
        return ()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = layers[:MOST_LAYERS]
    places = range(len(shown))
    with mpl.rc_context({"svg.hashsalt": "shoal"}):  # so that the same figures give the same file
        figure = Figure(figsize=(8, 1.5 + 0.24 * len(shown)), layout="constrained")
        axes = figure.subplots()
        axes.barh(
            places, [_shown(layer.sqnr_db) for layer in shown], height=0.62, color=_BAR, label="from the input to here"
        )
        axes.plot(
            [_shown(layer.own_sqnr_db) for layer in shown],
            places,
            linestyle="none",
            marker="D",
            markersize=5,
            color=_OWN,
            markeredgecolor="white",
            label="of this layer alone",
        )
        axes.set_yticks(places, [f"{layer.name[-40:]}  {layer.operator}" for layer in shown], fontsize=7, color=_INK)
        axes.invert_yaxis()
        axes.set_xlim(min(0.0, *(_shown(layer.sqnr_db) for layer in shown)), _HIGHEST_DB * 1.02)
        axes.set_xlabel("SQNR in dB; the shorter, the more is lost", color=_INK)
        axes.set_title(title, fontsize=10, color=_INK, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, axis="x", color="#d9dee3", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8)
        figure.savefig(folder / NAMES[0], dpi=110, metadata={"Software": None})
        figure.savefig(folder / NAMES[1], metadata={"Date": None, "Creator": None})
    return NAMES


def _shown(decibels: float) -> float:
    return max(-20.0, min(_HIGHEST_DB, decibels))
