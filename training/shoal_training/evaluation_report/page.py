"""Writes an evaluation as one HTML page, whole in itself: tables, and pictures as inline SVG."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shoal_training.evaluation.result import Comparison, EvaluationResult, FoldSpread, SliceFigures
from shoal_training.evaluation_report import pictures
from shoal_training.explain.explanation import ExplanationResult
from shoal_training.fairness.assess import FairnessResult

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1f2933}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .8rem;border-bottom:1px solid #d9dee3}"
    "td:not(:first-child),th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}"
    "th{text-align:left;font-weight:600}figure{display:inline-block;margin:.5rem 1rem .5rem 0;vertical-align:top}"
    "figcaption{font-weight:600}svg{max-width:100%;height:auto}.note{color:#8a4b08}"
)
_MOST_SLICE_METRICS: Final = 4

Row = Sequence[str]


@dataclass(frozen=True)
class Evaluated:
    """All that a page shows.

    Attributes:
        title: The model's name.
        validation: By which scheme rows were held out.
        result: What was measured.
        spread: Of each metric over folds; empty: there is one fold.
        explained: What the answers depend on; None: it was not asked.
        fairness: By protected groups; None: it was not asked.
    """

    title: str
    validation: str
    result: EvaluationResult
    spread: tuple[FoldSpread, ...] = ()
    explained: ExplanationResult | None = None
    fairness: FairnessResult | None = None


def evaluation_page(found: Evaluated) -> str:
    """Return the page.

    Raises:
        MissingLibraryError: What draws is not installed.
    """
    parts = [
        f"<h1>{_text(found.title)}: evaluation</h1>",
        f"<p>{_text(found.validation)}; {found.result.rows} rows were held out.</p>",
        *(f'<p class="note">{_text(note)}</p>' for note in _notes(found)),
        *_sections(found),
    ]
    title = f"{_text(found.title)}: evaluation"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _notes(found: Evaluated) -> Iterator[str]:
    yield from found.result.notes
    if found.explained is not None:
        yield from found.explained.notes
    if found.fairness is not None:
        yield from found.fairness.notes
        yield from found.fairness.failures()


def _sections(found: Evaluated) -> Iterator[str]:
    result = found.result
    if result.figures:
        figures = [(one.name, one.text(), "more" if one.is_rising else "less") for one in result.figures]
        yield _table("Metrics", ("metric", "value (95 % interval)", "better is"), figures)
    if found.spread:
        folds = [(one.name, f"{one.mean:.4g}", f"{one.deviation:.2g}", str(len(one.values))) for one in found.spread]
        yield _table("Over folds", ("metric", "mean", "deviation", "folds"), folds)
    if result.champion is not None:
        yield _champion(result.champion)
    if result.classes:
        yield _classes(result)
    yield from _drawn(result)
    if result.slices:
        yield _slices(result.slices)
    if found.fairness is not None:
        yield from _fairness(found.fairness)
    if found.explained is not None:
        yield from _explained(found.explained)


def _drawn(result: EvaluationResult) -> Iterator[str]:
    if result.confusion:
        yield _figure("Confusion", pictures.draw_confusion(result))
    if result.roc:
        yield _figure("ROC", pictures.draw_curves(result.roc, "false positives", "true positives", has_diagonal=True))
    if result.precision_recall:
        yield _figure(
            "Precision and recall",
            pictures.draw_curves(result.precision_recall, "recall", "precision", has_diagonal=False),
        )
    if result.reliability:
        yield _figure("Reliability", pictures.draw_reliability(result.reliability))
    if result.answers is not None:
        yield _figure("Answers", pictures.draw_answers(result.answers))


def _classes(result: EvaluationResult) -> str:
    rows = [
        (one.label, str(one.rows), *(f"{x:.3f}" for x in (one.precision, one.recall, one.f1)), _number(one.auc_roc))
        for one in result.classes
    ]
    return _table("Classes", ("class", "rows", "precision", "recall", "F1", "AUC-ROC"), rows)


def _champion(one: Comparison) -> str:
    within = "" if one.low is None or one.high is None else f" ({one.low:.4g} to {one.high:.4g})"
    rows = [
        ("verdict", one.verdict),
        ("metric", one.metric),
        ("champion", f"{one.champion_value:.4g}"),
        ("this model", f"{one.value:.4g}"),
        ("better by (95 % interval)", f"{one.difference:.4g}{within}"),
        ("margin", f"{one.margin:g}"),
        *([] if one.mcnemar_p is None else [("McNemar's p", f"{one.mcnemar_p:.3g}")]),
    ]
    return _table("Beside the champion", (one.champion, ""), rows)


def _slices(slices: Sequence[SliceFigures]) -> str:
    names = list(dict.fromkeys(figure.name for one in slices for figure in one.figures))[:_MOST_SLICE_METRICS]
    rows = []
    for one in slices:
        known = {figure.name: figure.text() for figure in one.figures}
        flag = "small" if one.is_small else ""
        rows.append((one.name, str(one.rows), flag, *(known.get(name, "") for name in names)))
    shown = _figure(f"{names[0]} by slice", pictures.draw_slices(slices, names[0])) if names else ""
    return _table("Slices", ("slice", "rows", "", *names), rows) + shown


def _fairness(found: FairnessResult) -> Iterator[str]:
    yield _table(
        f"Fairness: who gets {found.favourable}",
        ("by", "measure", "value (95 % interval)", "limit", ""),
        [
            (
                one.column,
                one.measure.replace("_", " "),
                f"{one.value:.3g}" + ("" if one.low is None else f" ({one.low:.3g} to {one.high:.3g})"),
                "" if one.limit is None else f"{one.limit:g}",
                "" if one.limit is None else ("kept" if one.is_within else "not kept"),
            )
            for one in found.figures
        ],
    )
    yield _table(
        "Groups",
        ("group", "rows", "chosen", "true positive", "false positive"),
        [
            (one.name, str(one.rows), *map(_number, (one.chosen, one.true_positive, one.false_positive)))
            for one in found.groups
        ],
    )


def _explained(found: ExplanationResult) -> Iterator[str]:
    if not found.importances:
        return
    rows = [
        (one.column, _number(one.permutation), _number(one.shap)) for one in found.importances[: pictures.MOST_BARS]
    ]
    yield _table("What the answers depend on", ("column", f"permutation, {found.metric}", "mean |SHAP|"), rows)
    if any(one.permutation is not None for one in found.importances):
        yield _figure("Permutation importance", pictures.draw_importances(found))
    if found.points:
        yield _figure(f"SHAP values ({found.shap_method}, {found.shap_rows} rows)", pictures.draw_shap(found))


def _table(heading: str, columns: Row, rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{_text(one)}</th>" for one in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f"<h2>{_text(heading)}</h2><table><tr>{head}</tr>{body}</table>"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{_text(caption)}</figcaption>{svg}</figure>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _text(value: str) -> str:
    return html.escape("".join(one if one.isprintable() else " " for one in value))
