"""Assesses a classifier by the protected groups that a pipeline file names, and holds it to limits."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shoal_compression.values import Record, Value
from shoal_numerics.class_choice import chosen_classes
from shoal_training.errors import DataError
from shoal_training.evaluation.intervals import RESAMPLES, interval_of, resamples_of, weights_of
from shoal_training.evaluation.slicing import AnySlicing, Part, SlicedColumn
from shoal_training.fairness.measures import IS_RISING, MEASURES, GroupRates, Measure, group_rates, measure
from shoal_training.onnx_samples import Array

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PROTECTED: Final = 16


class Fairness(Value):
    """What is asked of a classifier's fairness: section `model_evaluation.fairness`."""

    protected: tuple[AnySlicing, ...] = Field(min_length=1, max_length=MAX_PROTECTED)
    """Columns whose groups are to be treated alike; parted like slices."""
    favourable: str = Field(default="", max_length=256)
    """The label that is good to get; without, the second of two."""
    limits: dict[Measure, float] = Field(default_factory=dict)
    """A difference may be so large at most, a ratio has to be so large at least."""
    on_failure: Literal["fail", "warn"] = "fail"
    """Whether no bundle is made, or it says so in its card and the hub does not take it to production."""
    min_rows: int = Field(default=30, ge=1)
    """A smaller group is left out of the measures, and named."""


class GroupFigures(Record):
    """The rates of one group; None where it has no such rows."""

    name: str
    rows: int
    is_left_out: bool
    chosen: float | None
    true_positive: float | None
    false_positive: float | None


class FairnessFigure(Record):
    """One measure of one protected column."""

    column: str
    measure: Measure
    value: float
    low: float | None
    """Of the 95 % interval."""
    high: float | None
    limit: float | None
    is_within: bool
    """Whether it keeps its limit; true where there is none."""


class FairnessResult(Record):
    """An assessment."""

    favourable: str
    groups: tuple[GroupFigures, ...]
    figures: tuple[FairnessFigure, ...]
    notes: tuple[str, ...] = ()

    def failures(self) -> list[str]:
        """Say which limits are not kept."""
        return [
            f"{one.measure} by {one.column} is {one.value:.3g}, "
            f"{'at least' if IS_RISING[one.measure] else 'at most'} {one.limit:g} expected"
            for one in self.figures
            if not one.is_within
        ]


def assess(
    asked: Fairness,
    table: "pa.Table",
    truth: Array,
    scores: Array,
    labels: tuple[str, ...],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> FairnessResult:
    """Assess a classifier on rows that were held out.

    Args:
        asked: Columns, label and limits.
        table: All columns of the rows.
        truth: (n,) places among the labels.
        scores: (n, classes).
        labels: Of the model.
        seed: Of the resamples.
        resamples: Most that are drawn.

    Raises:
        DataError: A column or the label is not there, or a limit can not be told for want of groups.
    """
    favourable = _favourable(asked, labels)
    at = labels.index(favourable)
    is_favourable, is_chosen = truth == at, chosen_classes(scores) == at
    groups: list[GroupFigures] = []
    figures: list[FairnessFigure] = []
    notes: list[str] = []
    for column in asked.protected:
        parts = _parts(column, table)
        masks = np.array([part.is_in for part in parts])
        told = group_rates(is_favourable, is_chosen, masks, np.ones((1, len(truth))))
        is_large = masks.sum(axis=1) >= asked.min_rows
        groups += [_group(part.name, told, place, is_out=not is_large[place]) for place, part in enumerate(parts)]
        small = [part.name for part, large in zip(parts, is_large, strict=True) if not large]
        if small:
            notes.append(f"{', '.join(small)}: fewer than {asked.min_rows} rows, left out of the measures")
        if is_large.sum() < 2:  # noqa: PLR2004 - groups that can differ
            _say_too_few(asked, column, int(is_large.sum()), notes)
            continue
        count = resamples_of(len(truth), resamples)
        rates = partial(group_rates, is_favourable, is_chosen, masks[is_large])
        drawn = [rates(weights) for weights in weights_of(len(truth), count, seed)]
        plain = rates(np.ones((1, len(truth))))
        figures += _figures(asked, column.column, plain, drawn)
    return FairnessResult(favourable=favourable, groups=tuple(groups), figures=tuple(figures), notes=tuple(notes))


def _favourable(asked: Fairness, labels: tuple[str, ...]) -> str:
    if not asked.favourable and len(labels) == 2:  # noqa: PLR2004 - the second of two
        return labels[1]
    if asked.favourable not in labels:
        raise DataError(
            f"assessing fairness: the favourable label is {asked.favourable!r}, expected one of {', '.join(labels)}; "
            "name it in `favourable`"
        )
    return asked.favourable


def _parts(column: SlicedColumn, table: "pa.Table") -> Sequence[Part]:
    """Return the groups of a column; the one with a value stands beside all others."""
    parts = column.parts(table)
    if column.equals is None or not parts:
        return parts
    rest = ~parts[0].is_in
    return (*parts, Part(f"{column.column}!={column.equals}", rest, column.column)) if rest.any() else parts


def _say_too_few(asked: Fairness, column: SlicedColumn, found: int, notes: list[str]) -> None:
    said = f"by {column.column}, {found} groups have {asked.min_rows} rows or more, and 2 are needed to compare"
    if asked.limits:
        raise DataError(
            f"assessing fairness {said}: its limits can not be told; hold more rows out, or make `min_rows` smaller"
        )
    notes.append(f"{said}: nothing was measured")


def _group(name: str, rates: GroupRates, place: int, *, is_out: bool) -> GroupFigures:
    return GroupFigures(
        name=name,
        rows=int(rates.rows[0, place]),
        is_left_out=is_out,
        chosen=_known(rates.chosen, place),
        true_positive=_known(rates.true_positive, place),
        false_positive=_known(rates.false_positive, place),
    )


def _known(rates: NDArray[np.float64], place: int) -> float | None:
    value = float(rates[0, place])
    return None if np.isnan(value) else value


def _figures(asked: Fairness, column: str, plain: GroupRates, drawn: list[GroupRates]) -> list[FairnessFigure]:
    found = []
    for name in MEASURES:
        value, limit = float(measure(name, plain)[0]), asked.limits.get(name)
        if np.isnan(value):
            if limit is not None:
                raise DataError(f"assessing fairness by {column}: {name} has a limit and is not defined on these rows")
            continue
        within = interval_of(np.concatenate([measure(name, one) for one in drawn]))
        keeps = limit is None or (value >= limit if IS_RISING[name] else value <= limit)
        found.append(
            FairnessFigure(
                column=column,
                measure=name,
                value=value,
                low=None if within is None else within.low,
                high=None if within is None else within.high,
                limit=limit,
                is_within=keeps,
            )
        )
    return found
