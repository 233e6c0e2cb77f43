"""Makes a version's baseline of its reference data: what is counted of each feature, answer, embedding and slice. Pure.

`inspection` reads the data and runs the model; devices count over the same bins (`shoal_agent.monitor`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from shoal_contract.embedding import EmbeddingBaseline
from shoal_contract.manifest import MAX_FEATURES, Baseline, FeatureBaseline, Moments, TensorSpec
from shoal_contract.slices import SliceBaseline, SliceCounts
from shoal_hub.errors import InvalidInputError
from shoal_numerics import STATISTICS, Embedding, Histogram, HistogramEdges, HistogramError, sample_statistics
from shoal_numerics.slices import in_slice
from shoal_training.bundle import Bundle

BASELINE_BINS: Final = 100
"""Of a feature, each with the same mass: every tenth edge is a decile."""
CONFIDENCE_BINS: Final = 20
MAX_BINS: Final = 25_600
"""Of all features together, where that leaves each `MIN_BINS`: a window tells them all."""
MIN_BINS: Final = 20
MAX_MOMENTS: Final = 1024
"""Features whose moments are recorded."""
MAX_CATEGORIES: Final = 32
"""Values of a whole-numbered feature that is taken to be categorical without being declared."""
MAX_DECLARED_CATEGORIES: Final = 256
MAX_CATEGORY: Final = 1 << 20
"""The largest category, so that half a number beside it is exact as float32."""
MAX_EMBEDDED: Final = 10_000
"""Samples of the reference that are embedded, the first ones."""
MAX_SLICE_LABELS: Final = 64
"""Of a version with more labels, slices count confidence alone."""
_REMEDY: Final = "check the bundle with the tool that wrote it, and write it again"


@dataclass(frozen=True)
class Reference:
    """The data that a version is watched against.

    Attributes:
        inputs: By input, (n, ...).
        scores: The first output, (n, labels) float32; None: it is none of scores that are watched.
        embedded: The output that is embedded, (n, values) float32; None: none is.
    """

    inputs: Mapping[str, NDArray[Any]]
    scores: NDArray[np.float32] | None = None
    embedded: NDArray[np.float32] | None = None


def baseline_of(bundle: Bundle, reference: Reference) -> Baseline:
    """Return the baseline of a version.

    Raises:
        InvalidInputError: What the bundle declares does not fit the data, or the data make no baseline.
    """
    specs = [spec for spec in bundle.inputs if bundle.watched is None or spec.name in bundle.watched]
    arrays = [reference.inputs[spec.name] for spec in specs]
    features_of: Literal["statistics"] | None = None
    if _is_large(specs, arrays, is_batched=bundle.batching is None):
        names = [f"{spec.name}.{statistic}" for spec in specs for statistic in STATISTICS]
        rows, features_of = sample_statistics(arrays), "statistics"
    else:
        names = _feature_names(specs, reference.inputs)
        rows = np.concatenate([_flat(array) for array in arrays], axis=1)
    try:
        are_whole = np.repeat([features_of is None and _is_flat(array) for array in arrays], _widths(arrays, rows))
        edges, categorical = _edges(rows, names, are_whole, bundle.categorical)
        confidence_edges = HistogramEdges.uniform(0.0, 1.0, CONFIDENCE_BINS)
        return Baseline(
            samples=len(rows),
            features_of=features_of,
            inputs=None if bundle.watched is None else tuple(spec.name for spec in specs),
            features=_features(rows, edges, names, categorical),
            predictions=tuple(_predictions(reference.scores, len(bundle.labels))),
            confidence=_confidence(reference.scores, confidence_edges),
            embedding=_embedding(bundle, reference, arrays, has_statistics=features_of is not None),
            slices=_slices(bundle, rows, names, reference.scores, confidence_edges) or None,
        )
    except (HistogramError, ValidationError) as error:
        raise InvalidInputError(f"computing the baseline of the training data: {error}", _REMEDY) from error


def bins_of(features: int) -> int:
    """Return how many bins each of so many features has at most."""
    return min(BASELINE_BINS, max(MIN_BINS, MAX_BINS // features))


def _edges(
    rows: NDArray[Any], names: Sequence[str], are_whole: NDArray[np.bool_], declared: Sequence[str]
) -> tuple[HistogramEdges, list[bool]]:
    """Return the edges of all features, and which of them are categorical."""
    unknown = sorted(set(declared) - set(names))
    if unknown:
        known = ", ".join(names[:8])
        raise InvalidInputError(f"categorical: no feature {', '.join(unknown)[:200]}; there are {known}", _REMEDY)
    found = HistogramEdges.equal_mass(rows, bins_of(len(names))).to_lists()
    are_categorical = [False] * len(names)
    for place, name in enumerate(names):
        if not (are_whole[place] or name in declared):
            continue
        most = MAX_DECLARED_CATEGORIES if name in declared else MAX_CATEGORIES
        categories = _categories(rows[:, place], most)
        if categories is not None:
            found[place] = np.unique(np.concatenate([categories - 0.5, categories + 0.5])).tolist()
            are_categorical[place] = True
        elif name in declared:
            message = f"categorical: feature {name} is none: expected 1 to {most} whole numbers up to {MAX_CATEGORY}"
            raise InvalidInputError(message, "encode its categories as whole numbers, or do not declare it")
    return HistogramEdges.from_lists(found), are_categorical


def _categories(column: NDArray[Any], most: int) -> NDArray[np.float64] | None:
    """Return the categories of a feature in order; None where it has none, too many, or others than whole numbers."""
    values: NDArray[np.float64] = np.unique(column[np.isfinite(column)]).astype(np.float64)
    if not 0 < len(values) <= most or (values != np.rint(values)).any() or np.abs(values).max() > MAX_CATEGORY:
        return None
    return values


def _features(
    rows: NDArray[Any], edges: HistogramEdges, names: Sequence[str], categorical: Sequence[bool]
) -> tuple[FeatureBaseline, ...]:
    histogram = Histogram.of(edges, rows)
    moments = _moments(rows) if len(names) <= MAX_MOMENTS else [None] * len(names)
    return tuple(
        FeatureBaseline(
            name=name,
            edges=tuple(edges.of_feature(place).tolist()),
            counts=tuple(histogram.of_feature(place).tolist()),
            kind="categorical" if categorical[place] else None,
            missing=int(histogram.missing[place]),
            moments=moments[place],
        )
        for place, name in enumerate(names)
    )


def _moments(rows: NDArray[Any]) -> list[Moments | None]:
    """Return mean and variance of each feature's finite values, in two passes of float64."""
    found: list[Moments | None] = []
    for column in rows.T:
        values = column[np.isfinite(column)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, variance = (float(values.mean()), float(values.var())) if len(values) else (0.0, np.inf)
        is_known = np.isfinite(mean) and np.isfinite(variance)
        found.append(Moments(values=len(values), mean=mean, variance=variance) if is_known else None)
    return found


def _predictions(scores: NDArray[np.float32] | None, labels: int) -> list[int]:
    return [] if scores is None else np.bincount(scores.argmax(axis=1), minlength=labels).tolist()


def _confidence(scores: NDArray[np.float32] | None, edges: HistogramEdges) -> FeatureBaseline:
    found = scores.max(axis=1) if scores is not None else np.empty(0, dtype=np.float32)
    counts = Histogram.of(edges, found).of_feature(0)
    return FeatureBaseline(name="confidence", edges=tuple(edges.of_feature(0).tolist()), counts=tuple(counts.tolist()))


def _embedding(
    bundle: Bundle, reference: Reference, arrays: Sequence[NDArray[Any]], *, has_statistics: bool
) -> EmbeddingBaseline | None:
    """Return the embedding of the declared output, else of inputs that are watched as statistics or have two axes."""
    if reference.embedded is not None:
        rows = reference.embedded[:MAX_EMBEDDED]
    elif bundle.embedded is None and (has_statistics or any(array.ndim > 2 for array in arrays)):  # noqa: PLR2004
        rows = np.concatenate([_flat(array[:MAX_EMBEDDED]).astype(np.float32) for array in arrays], axis=1)
    else:
        return None
    seed = int(bundle.data_sha256[:8], 16)
    embedding = Embedding.fitted(rows, seed)
    return EmbeddingBaseline(output=bundle.embedded, seed=seed, scale=embedding.scale, reference=embedding.sums(rows))


def _slices(
    bundle: Bundle,
    rows: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[np.float32] | None,
    confidence_edges: HistogramEdges,
) -> tuple[SliceBaseline, ...]:
    made = []
    for one in bundle.slices:
        if one.feature not in names:
            known = ", ".join(names[:8])
            raise InvalidInputError(f"slice {one.name}: no feature {one.feature}; there are {known}", _REMEDY)
        place = names.index(one.feature)
        within = in_slice(rows[:, place].astype(np.float32), one.low, one.high, one.equals)
        chosen = None if scores is None else scores[within]
        has_labels = chosen is not None and len(bundle.labels) <= MAX_SLICE_LABELS
        counts = SliceCounts(
            samples=int(within.sum()),
            predictions=tuple(_predictions(chosen, len(bundle.labels))) if has_labels else (),
            confidence=_confidence(chosen, confidence_edges).counts,
        )
        bounds = {"low": one.low, "high": one.high, "equals": one.equals}
        made.append(SliceBaseline(name=one.name, feature=place, reference=counts, **bounds))
    return tuple(made)


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(len(array), -1)


def _is_flat(array: NDArray[Any]) -> bool:
    """Whether an input has whole numbers that may be categories; of two axes they are pixels, which have an order."""
    return array.ndim <= 2 and array.dtype.kind in "iub"  # noqa: PLR2004


def _widths(arrays: Sequence[NDArray[Any]], rows: NDArray[Any]) -> list[int]:
    """Return how many features come of each input."""
    widths = [_flat(array[:1]).shape[1] for array in arrays]
    return widths if sum(widths) == rows.shape[1] else [rows.shape[1] // len(arrays)] * len(arrays)


def _is_large(specs: Sequence[TensorSpec], arrays: Sequence[NDArray[Any]], *, is_batched: bool) -> bool:
    """Whether samples have too many values to watch one by one, or so many today and so many tomorrow."""
    is_open = any(-1 in (spec.shape[1:] if is_batched else spec.shape) for spec in specs)
    return is_open or sum(array[0].size for array in arrays) > MAX_FEATURES


def _feature_names(specs: Sequence[TensorSpec], inputs: Mapping[str, NDArray[Any]]) -> list[str]:
    return [
        f"{spec.name}[{','.join(str(index) for index in place)}]" if place else spec.name
        for spec in specs
        for place in np.ndindex(inputs[spec.name].shape[1:])
    ]
