"""Draws the front of each target: size and latency against the points that are lost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_compression.search.candidates import Candidate, Objective

NAMES: Final = ("front.png", "front.svg")
_LABELS: Final[dict[Objective, tuple[str, float]]] = {
    "size": ("file, KB", 1e-3),
    "latency": ("latency p50, ms", 1.0),
    "memory": ("memory, MB", 1e-6),
    "energy": ("energy a request, mJ", 1.0),
    "accuracy": ("points lost", 1.0),
}
_INK, _OTHER, _FRONT, _SOURCE = "#1f2933", "#b8c1cc", "#2a78d6", "#eb6834"
_MOST_NAMED: Final = 12


def draw_fronts(
    candidates: Sequence[Candidate],
    fronts: Mapping[str, Sequence[Candidate]],
    objectives: Sequence[Objective],
    folder: Path,
) -> tuple[str, ...]:
    """Write the pictures, a row for each target and a panel for each objective but accuracy; return their names."""
    across = [one for one in objectives if one != "accuracy"] or ["size"]
    if not fronts:
        return ()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "shoal"}):  # so that the same figures give the same file
        figure = Figure(figsize=(5.2 * len(across), 3.9 * len(fronts)), layout="constrained")
        grid = figure.subplots(len(fronts), len(across), squeeze=False)
        for row, (target, front) in zip(grid, sorted(fronts.items()), strict=True):
            mine = [one for one in candidates if one.target == target]
            for axes, objective in zip(row, across, strict=True):
                _panel(axes, mine, front, objective)
            row[0].set_title(target, fontsize=11, color=_INK, loc="left")
        figure.savefig(folder / NAMES[0], dpi=110, metadata={"Software": None})
        figure.savefig(folder / NAMES[1], metadata={"Date": None, "Creator": None})
    return NAMES


def _panel(axes: Any, candidates: Sequence[Candidate], front: Sequence[Candidate], objective: Objective) -> None:  # noqa: ANN401
    """Draw one target by one objective."""
    label, scale = _LABELS[objective]
    on_front = {one.recipe_sha256 for one in front}
    others = [one for one in candidates if one.recipe_sha256 not in on_front]
    axes.scatter(*_places(others, objective, scale), s=22, color=_OTHER, label="others")
    ordered = sorted(front, key=lambda one: one.cost(objective))
    axes.scatter(*_places(ordered, objective, scale), s=42, color=_FRONT, label="front", zorder=3)
    source = [one for one in candidates if one.name == "source"]
    axes.scatter(*_places(source, objective, scale), s=60, marker="D", color=_SOURCE, label="source", zorder=4)
    for one in ordered[:_MOST_NAMED]:
        x, y = one.cost(objective) * scale, one.cost("accuracy")
        if np.isfinite([x, y]).all():
            axes.annotate(one.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6.5, color=_INK)
    axes.set_xlabel(label, color=_INK)
    axes.set_ylabel("points of accuracy lost", color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#d9dee3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)


def _places(candidates: Sequence[Candidate], objective: Objective, scale: float) -> tuple[list[float], list[float]]:
    costs = [(one.cost(objective) * scale, one.cost("accuracy")) for one in candidates]
    kept = [pair for pair in costs if np.isfinite(pair).all()]
    return [x for x, _ in kept], [y for _, y in kept]
