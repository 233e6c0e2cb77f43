"""Compares a variant with its source on held-out samples, and says whether it keeps what its recipe demands."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from shoal_compression.comparing import (
    accuracy,
    agreement,
    classes_of,
    paired_difference,
    slice_accuracies,
    sqnr_db,
)
from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.recipe import Tolerance
from shoal_compression.running import outputs_of
from shoal_compression.sensitivity import Sensitivity, sensitivity
from shoal_compression.verdict import SliceAccuracy, Verdict
from shoal_numerics.class_choice import PROBABILITY_CUT, score_cut
from shoal_numerics.tensors import Array

MIN_SLICE_ROWS: Final = 20
"""A slice with fewer samples is shown, and never refuses a variant: one sample would be more than five points."""
MIN_SQNR_DB: Final = 20.0
"""Of outputs that are numbers and not classes, unless the recipe says otherwise: an error of a tenth."""

Outputs = Mapping[str, Array]


def verify(
    source: Model,
    variant: Model,
    samples: Samples,
    tolerance: Tolerance | None = None,
    *,
    layers_of: Model | None = None,
    threads: int = 1,
) -> Verdict:
    """Compare a variant with its source.

    Args:
        source: The float model.
        variant: What was made of it.
        samples: Held out: nothing has learnt from them.
        tolerance: What it may lose.
        layers_of: The source in the variant's form, where `source` has another; layers are compared with it.
        threads: Of the runtimes.

    Raises:
        SourceError: What the source says itself has NaN or infinity.
        TechniqueError: One of them does not run.
    """
    before = finite_outputs(source, samples, threads)
    after = outputs_of(variant, samples, threads)
    first = source.outputs[0].name
    reference, found = before[first], after[first]
    compared = Verdict(
        samples=len(samples),
        agreement=agreement(reference, found),
        sqnr_db=sqnr_db(_flat(before), _flat({name: after[name] for name in before})),
        is_numbers=answers_numbers(reference, samples),
        outcome="within",
        **_against_labels(reference, found, samples),
    )
    inside = _inside(layers_of or source, variant, samples)
    reasons = tuple(_reasons(compared, tolerance or Tolerance(), has_labels=samples.labels is not None))
    if not np.isfinite(_flat(after)).all():
        reasons = ("its outputs have NaN or infinity, those of the source have not", *reasons)
    return compared.model_copy(
        update={
            "layers": inside.layers,
            "layers_note": inside.note,
            "outcome": "outside" if reasons else "within",
            "reasons": reasons,
            "blamed": inside.blamed if reasons else (),
        }
    )


def finite_outputs(source: Model, samples: Samples, threads: int = 1) -> dict[str, Array]:
    """Return what a source says to samples, arrays (n, …) by output.

    Raises:
        SourceError: There is NaN or infinity in it, with which nothing can be compared.
        TechniqueError: It does not run.
    """
    outputs = outputs_of(source, samples, threads)
    for name, array in outputs.items():
        if array.dtype.kind != "f":
            continue
        rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if len(rows):
            found = f"its output {name} has NaN or infinity for {len(rows)} of {len(array)} samples, first {rows[0]}"
            raise SourceError(f"running the source on held-out samples: {found}; mend the model, or leave them out")
    return outputs


def _inside(source: Model, variant: Model, samples: Samples) -> Sensitivity:
    if source.sha256 == variant.sha256:
        return Sensitivity((), "the variant is the source itself")
    return sensitivity(source, variant, samples)


def has_classes(samples: Samples) -> bool:
    """Whether the labels are classes, and not numbers or unknown."""
    return samples.labels is not None and samples.labels.dtype.kind in "iub"


def answers_numbers(reference: Array, samples: Samples) -> bool:
    """Whether a source answers numbers and not classes.

    The labels say so; without any, a single score that is no probability is a number.
    """
    if samples.labels is not None:
        return not has_classes(samples)
    is_single = reference.dtype.kind == "f" and reference.size == len(reference)
    return is_single and score_cut(reference) != PROBABILITY_CUT


def _against_labels(reference: Array, found: Array, samples: Samples) -> dict[str, Any]:  # fields of a verdict
    labels = samples.labels
    if labels is None or not has_classes(samples):
        return {}
    before, after = accuracy(reference, labels), accuracy(found, labels, reference)
    flat = labels.reshape(-1)
    change = paired_difference(classes_of(reference) == flat, classes_of(found, reference) == flat)
    old, new = (slice_accuracies(one, labels, samples.slices, reference) for one in (reference, found))
    return {
        "accuracy_source": before,
        "accuracy": after,
        "drop_points": 0.0 - 100 * change.value,
        "drop_low": 0.0 - 100 * change.high,
        "drop_high": 0.0 - 100 * change.low,
        "slices": tuple(
            SliceAccuracy(slice=name, samples=rows, source=old[name], variant=new[name])
            for name, rows in _slice_rows(samples)
        ),
    }


def _slice_rows(samples: Samples) -> Iterator[tuple[str, int]]:
    for name, values in sorted(samples.slices.items()):
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            yield f"{name}={value}", int(count)


def _reasons(found: Verdict, tolerance: Tolerance, *, has_labels: bool) -> Iterator[str]:
    """Yield each bound that is broken."""
    most = tolerance.max_drop_points
    if most is not None and found.drop_points is not None and found.drop_points > most:
        yield f"it lost {found.drop_points:.2f} points of accuracy, at most {most:g} are allowed"
    worst = tolerance.max_slice_drop_points
    for part in found.slices if worst is not None else ():
        lost = 100 * (part.source - part.variant)
        if part.samples >= MIN_SLICE_ROWS and lost > (worst or 0.0):
            yield f"it lost {lost:.2f} points of accuracy on {part.slice}, at most {worst:g} are allowed"
    least = tolerance.min_agreement
    if least is not None and not has_labels and not found.is_numbers and found.agreement < least:
        yield f"it agrees with the source on {found.agreement:.2%} of the samples, at least {least:.2%} are demanded"
    lowest = MIN_SQNR_DB if tolerance.min_sqnr_db is None and found.is_numbers else tolerance.min_sqnr_db
    if lowest is not None and found.sqnr_db < lowest:
        yield f"its outputs have an SQNR of {found.sqnr_db:.1f} dB, at least {lowest:g} are demanded"


def _flat(outputs: Outputs) -> Array:
    """Return the numbers of all outputs that hold floats; of all where none does."""
    floats = [array for array in outputs.values() if array.dtype.kind == "f"] or list(outputs.values())
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in floats])
