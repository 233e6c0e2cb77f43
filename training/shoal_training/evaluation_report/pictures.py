"""Draws an evaluation's pictures as SVG, by matplotlib; the same figures give the same file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

import numpy as np

from shoal_compression.errors import MissingLibraryError
from shoal_training.evaluation.result import Curve, EvaluationResult, Reliability, SliceFigures
from shoal_training.explain.explanation import ExplanationResult

MOST_BARS: Final = 25
MOST_CLASSES_WRITTEN: Final = 20
_INK: Final = "#1f2933"
_FIRST: Final = "#2a78d6"
_PALE: Final = "#9aa5b1"


@contextmanager
def drawing(width: float = 5.2, height: float = 4.0) -> Iterator[tuple[Any, list[str]]]:
    """Give axes to draw on, and the list that the finished SVG is put into.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibraryError(f"drawing an evaluation: {error}; install shoal[train]") from error
    made: list[str] = []
    # The texts stay texts, so that a page can be searched; parsing of $ as formulas is off, for they are names.
    with mpl.rc_context({"svg.hashsalt": "shoal", "svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, made
        stream = StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    made.append(text[text.index("<svg") :])


def draw_curves(curves: Sequence[Curve], x: str, y: str, *, has_diagonal: bool) -> str:
    """Draw curves from 0 to 1."""
    with drawing() as (axes, made):
        if has_diagonal:
            axes.plot([0, 1], [0, 1], color=_PALE, linewidth=0.8, linestyle="--")
        for curve in curves:
            axes.plot(curve.x, curve.y, linewidth=1.6, label=curve.name[:24])
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
        _unit_square(axes, x, y)
    return made[0]


def draw_reliability(bins: Sequence[Reliability]) -> str:
    """Draw accuracy by confidence; the larger a point, the more rows."""
    most = max(one.rows for one in bins)
    with drawing() as (axes, made):
        axes.plot([0, 1], [0, 1], color=_PALE, linewidth=0.8, linestyle="--")
        axes.plot([one.confidence for one in bins], [one.accuracy for one in bins], color=_FIRST, linewidth=1.2)
        axes.scatter(
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
            s=[15 + 120 * one.rows / most for one in bins],
            color=_FIRST,
            edgecolor="white",
            zorder=3,
        )
        _unit_square(axes, "confidence", "share that is right")
    return made[0]


def draw_confusion(result: EvaluationResult) -> str:
    """Draw how many rows of each class were taken for which."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(9.0, 2.4 + 0.42 * len(counts))
    with drawing(side + 0.8, side) as (axes, made):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(counts) <= MOST_CLASSES_WRITTEN:
            for (row, column), count in np.ndenumerate(counts):
                color = "white" if shares[row, column] > 0.55 else _INK  # noqa: PLR2004 - dark behind it
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
        names = [label[:18] for label in result.labels]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlabel("the model says")
        axes.set_ylabel("it is")
    return made[0]


def draw_answers(answers: Curve) -> str:
    """Draw what a regression says by what is true."""
    with drawing() as (axes, made):
        ends = [min(*answers.x, *answers.y), max(*answers.x, *answers.y)]
        axes.plot(ends, ends, color=_PALE, linewidth=0.8, linestyle="--")
        axes.scatter(answers.x, answers.y, s=9, color=_FIRST, alpha=0.6, linewidths=0)
        axes.set_xlabel("it is")
        axes.set_ylabel("the model says")
    return made[0]


def draw_slices(slices: Sequence[SliceFigures], metric: str) -> str:
    """Draw one metric by slice, with intervals; small slices are pale."""
    found = [(one, figure) for one in slices for figure in one.figures if figure.name == metric][:MOST_BARS]
    with drawing(6.4, 1.2 + 0.3 * len(found)) as (axes, made):
        for at, (one, figure) in enumerate(found):
            color = _PALE if one.is_small else _FIRST
            if figure.low is not None and figure.high is not None:
                axes.plot([figure.low, figure.high], [at, at], color=color, linewidth=2)
            axes.plot([figure.value], [at], marker="o", color=color)
        axes.set_yticks(range(len(found)), [f"{one.name[:32]} ({one.rows})" for one, _ in found], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(metric)
        axes.grid(visible=True, axis="x", color="#d9dee3", linewidth=0.6)
    return made[0]


def draw_importances(explained: ExplanationResult) -> str:
    """Draw by how much the metric is worse where a column is shuffled."""
    found = [one for one in explained.importances if one.permutation is not None][:MOST_BARS]
    with drawing(6.4, 1.2 + 0.26 * len(found)) as (axes, made):
        axes.barh(
            range(len(found)),
            [one.permutation or 0.0 for one in found],
            xerr=[one.permutation_deviation or 0.0 for one in found],
            color=_FIRST,
            ecolor=_PALE,
            height=0.6,
        )
        axes.set_yticks(range(len(found)), [one.column[:32] for one in found], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(f"{explained.metric}: how much worse without the column")
    return made[0]


def draw_shap(explained: ExplanationResult) -> str:
    """Draw the SHAP values of the columns that matter the most, coloured by the column's own value."""
    points = explained.points
    with drawing(6.8, 1.4 + 0.32 * len(points)) as (axes, made):
        axes.axvline(0, color=_PALE, linewidth=0.8)
        for at, one in enumerate(points):
            spread = 0.25 * np.sin(np.arange(len(one.values)) * 2.4)  # so that points of one value lie side by side
            axes.scatter(one.values, at + spread, c=one.ranks, cmap="coolwarm", vmin=0, vmax=1, s=9, linewidths=0)
        axes.set_yticks(range(len(points)), [one.column[:32] for one in points], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(f"SHAP value ({explained.shap_unit}); blue: the column is low, red: high")
    return made[0]


def _unit_square(axes: Any, x: str, y: str) -> None:  # noqa: ANN401 - matplotlib's
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
