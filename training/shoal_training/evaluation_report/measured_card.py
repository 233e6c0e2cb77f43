"""Puts what was measured into the model card, and slices that devices can count into the bundle."""

from collections.abc import Sequence
from typing import Final

from shoal_contract.manifest import TensorSpec
from shoal_contract.slices import MAX_SLICE_COUNTS, MAX_SLICES
from shoal_training.bundle import SliceSpec
from shoal_training.evaluation.result import EvaluationResult, SliceFigures
from shoal_training.evaluation_report.page import Evaluated
from shoal_training.explain.explanation import ExplanationResult
from shoal_training.model_card import (
    ChampionFigures,
    Explained,
    FairnessFigure,
    FeatureImportance,
    MetricInterval,
    ModelCard,
    SliceMetric,
)

_MOST: Final = 256
"""Entries of each of a card's lists."""
_SLICE_METRICS: Final = {
    "classification": ("accuracy", "f1_macro", "auc_roc"),
    "regression": ("mean_absolute_error", "root_mean_squared_error"),
    "anomaly": ("average_precision", "precision_at_threshold"),
}
_LINE: Final = 256
_NAME: Final = 64
_CONFIDENCE_BINS: Final = 20
"""That a device counts of each slice beside labels."""


def measured_card(card: ModelCard, found: Evaluated) -> ModelCard:
    """Return a card with what was measured; slices that its makers wrote by hand stay before it."""
    made = _slice_metrics(found.result)
    changes: dict[str, object] = {
        "metrics_by_slice": (*card.metrics_by_slice, *made)[:_MOST],
        "metric_intervals": _intervals(found),
        "validation": found.validation[:_LINE],
        "explained": None if found.explained is None else _explained(found.explained),
        "champion": _champion(found.result),
        "fairness": ()
        if found.fairness is None
        else tuple(
            FairnessFigure(
                slice=one.column[:_LINE],
                measure=one.measure,
                value=one.value,
                low=one.low,
                high=one.high,
                limit=one.limit,
                is_within=one.is_within,
            )
            for one in found.fairness.figures[:_MOST]
        ),
    }
    return ModelCard.model_validate(dict(card) | changes)


def bundle_slices(
    result: EvaluationResult, inputs: Sequence[TensorSpec], names: Sequence[str], labels: int
) -> tuple[SliceSpec, ...]:
    """Return the slices that devices can count: conditions on a number that goes into the model, the largest first.

    Args:
        result: With the slices that were measured.
        inputs: The model's.
        names: Of the columns that are learned from, in the order of an input that holds all of them.
        labels: How many the model has.
    """
    features = _features(inputs, names)
    most = min(MAX_SLICES, MAX_SLICE_COUNTS // (labels + _CONFIDENCE_BINS))
    able = [one for one in result.slices if one.column in features and _is_of_numbers(one) and len(one.name) <= _NAME]
    kept = sorted(able, key=lambda one: -one.rows)[:most]
    return tuple(
        SliceSpec(name=one.name, feature=features[one.column], low=one.low, high=one.high, equals=one.equals)
        for one in kept
    )


def _features(inputs: Sequence[TensorSpec], names: Sequence[str]) -> dict[str, str]:
    """Return by column what the baseline calls it."""
    numbers = [spec for spec in inputs if spec.datatype != "BYTES" and len(spec.shape) == 2]  # noqa: PLR2004 - (-1, n)
    if len(inputs) == 1 and numbers and numbers[0].shape[1] == len(names):
        return {name: f"{numbers[0].name}[{at}]" for at, name in enumerate(names)}
    return {spec.name: f"{spec.name}[0]" for spec in numbers if spec.shape[1] == 1}


def _is_of_numbers(one: SliceFigures) -> bool:
    return not (one.low is None and one.high is None and one.equals is None)


def _slice_metrics(result: EvaluationResult) -> list[SliceMetric]:
    wanted = _SLICE_METRICS.get(result.task, ())
    return [
        SliceMetric(
            slice=one.name[:_LINE],
            metric=figure.name,
            value=figure.value,
            samples=one.rows,
            low=figure.low,
            high=figure.high,
            is_small=one.is_small,
        )
        for one in result.slices
        for figure in one.figures
        if figure.name in wanted
    ]


def _intervals(found: Evaluated) -> tuple[MetricInterval, ...]:
    spread = {one.name: one for one in found.spread}
    made = []
    for one in found.result.figures[:_MOST]:
        over = spread.get(one.name)
        plain = MetricInterval(metric=one.name, low=one.low, high=one.high, is_rising=one.is_rising)
        folds = {} if over is None else {"fold_mean": over.mean, "fold_deviation": over.deviation}
        made.append(plain.model_copy(update=folds | ({} if over is None else {"folds": len(over.values)})))
    return tuple(made)


def _explained(found: ExplanationResult) -> Explained:
    return Explained(
        importances=tuple(
            FeatureImportance(feature=one.column[:_LINE], permutation=one.permutation, shap=one.shap)
            for one in found.importances[:_MOST]
        ),
        metric=found.metric,
        samples=found.rows,
        shap_method=found.shap_method,
        shap_unit=found.shap_unit,
        shap_samples=found.shap_rows or None,
    )


def _champion(result: EvaluationResult) -> ChampionFigures | None:
    one = result.champion
    if one is None:
        return None
    return ChampionFigures(
        champion=one.champion[:_LINE],
        metric=one.metric,
        champion_value=one.champion_value,
        value=one.value,
        difference=one.difference,
        low=one.low,
        high=one.high,
        margin=one.margin,
        verdict=one.verdict,
        p_value=one.mcnemar_p,
        samples=one.rows,
    )
