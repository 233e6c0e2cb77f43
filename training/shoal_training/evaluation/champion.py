"""The new model beside the one in use, on the same rows: what each scores, the difference, and whether it is real.

Differences by paired resamples, as in `intervals`; of classes also McNemar's exact test (McNemar 1947).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value
from shoal_numerics.class_choice import chosen_classes
from shoal_training.bundle import ONNX_FILE, read_bundle
from shoal_training.errors import BundleError, DataError
from shoal_training.evaluation.intervals import RESAMPLES, Interval, interval_of, resamples_of, weights_of
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.result import Comparison, Verdict
from shoal_training.onnx_samples import Array, OnnxModel

Required = Literal["better", "no_worse", "not_worse"]
ACCEPTED: Final[Mapping[Required, frozenset[Verdict]]] = {
    "better": frozenset({"better"}),
    "no_worse": frozenset({"better", "no worse"}),
    "not_worse": frozenset({"better", "no worse", "uncertain"}),
}


class Champion(Value):
    """The model that a new one is compared with, and what is asked of the comparison."""

    bundle: str = Field(default="", max_length=4096)
    """Its bundle's folder, relative to the pipeline file."""
    model: str = Field(default="", max_length=300, pattern=r"^$|^[\w.-]+@[\w.-]+$")
    """Or `name@alias`, `name@production` or `name@3` at the hub; where the hub has none, nothing is compared."""
    metric: str = Field(default="", max_length=64)
    """That decides; the task's main one without."""
    margin: float = Field(default=0.0, ge=0)
    """In the metric's unit: by how much the new one may be worse and still be no worse."""
    required: Required = "not_worse"
    """`better`: the interval lies above 0. `no_worse`: above -margin. `not_worse`: it does not lie below -margin."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if bool(self.bundle) == bool(self.model):
            raise ValueError("expected one of `bundle` and `model`; name where the champion is")
        return self


def champion_scores(folder: Path, arrays: Mapping[str, Array], labels: tuple[str, ...]) -> tuple[str, Array]:
    """Return what a champion says of rows, and its name.

    Args:
        folder: Its bundle.
        arrays: The rows as the new model's inputs, by name.
        labels: Of the new model; of those that the champion does not know it says 0, its others come behind.

    Raises:
        DataError: It can not be read, or takes other inputs.
    """
    doing = f"comparing with the champion in {folder}"
    try:
        bundle = read_bundle(folder)
    except BundleError as error:
        raise DataError(f"{doing}: {error}") from error
    for spec in bundle.inputs:
        found = arrays.get(spec.name)
        shape = None if found is None else (-1, *found.shape[1:])
        if (
            shape is None
            or len(shape) != len(spec.shape)
            or any(size not in {-1, have} for size, have in zip(spec.shape, shape, strict=True))
        ):
            has = ", ".join(f"{name} {[-1, *one.shape[1:]]}" for name, one in arrays.items())
            raise DataError(
                f"{doing}: it takes {spec.name} {list(spec.shape)}, and the rows are {has}; compare models that take "
                "the same inputs, or leave `champion` out for this one"
            )
    model = OnnxModel(folder / ONNX_FILE, [bundle.outputs[0].name], is_batched=bundle.batching is None)
    given = {spec.name: arrays[spec.name] for spec in bundle.inputs}
    parts = [one[bundle.outputs[0].name] for one in model.runs(given)]
    scores = np.concatenate(parts) if bundle.batching is None else np.stack([part.reshape(-1) for part in parts])
    return f"{bundle.name} ({folder.name})", _by_labels(scores, bundle.labels, labels)


def _by_labels(scores: Array, own: tuple[str, ...], labels: tuple[str, ...]) -> Array:
    """Return scores in the order of other labels."""
    if not labels or own == labels or scores.ndim != 2:  # noqa: PLR2004 - of classes alone
        return scores
    order = [*labels, *(label for label in own if label not in labels)]
    found = np.zeros((len(scores), len(order)), dtype=scores.dtype)
    for at, label in enumerate(own):
        found[:, order.index(label)] = scores[:, at]
    return found


def compare(
    metric: Metric,
    truth: Array,
    champion: tuple[str, Array],
    scores: Array,
    *,
    margin: float = 0.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two models on the same rows.

    Args:
        metric: That decides.
        truth: (n,).
        champion: Its name, and its scores of these rows.
        scores: The new model's.
        margin: By how much the new one may be worse.
        seed: Of the resamples.
        resamples: Most that are drawn.

    Raises:
        DataError: The metric is not defined on these rows.
    """
    name, before = champion
    old, new = metric.value(truth, before), metric.value(truth, scores)
    if not np.isfinite([old, new]).all():
        raise DataError(f"comparing with {name}: {metric.name} is not defined on these rows; name another metric")
    sign = 1.0 if metric.is_rising else -1.0
    gaps = [
        sign * (metric.over(truth, scores, weights) - metric.over(truth, before, weights))
        for weights in weights_of(len(truth), resamples_of(len(truth), resamples), seed)
    ]
    within = interval_of(np.concatenate(gaps))
    is_of_classes = scores.ndim == 2  # noqa: PLR2004 - (n, classes)
    return Comparison(
        champion=name,
        metric=metric.name,
        is_rising=metric.is_rising,
        champion_value=old,
        value=new,
        difference=sign * (new - old),
        low=None if within is None else within.low,
        high=None if within is None else within.high,
        margin=margin,
        verdict=verdict_of(within, margin),
        mcnemar_p=mcnemar(chosen_classes(before) == truth, chosen_classes(scores) == truth) if is_of_classes else None,
        rows=len(truth),
    )


def verdict_of(within: Interval | None, margin: float) -> Verdict:
    """Return what an interval of the difference says; an uncertain one says that there are too few rows to tell."""
    if within is None:
        return "uncertain"
    if within.low > 0:
        return "better"
    if within.low >= -margin:
        return "no worse"
    return "worse" if within.high < -margin else "uncertain"


def mcnemar(first_right: Array, second_right: Array) -> float:
    """Return the two-sided exact p-value that two models have as many rows right, of (n,) bool each."""
    from scipy.stats import binomtest

    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    apart = only_first + only_second
    return float(binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0
