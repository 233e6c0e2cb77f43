"""The baseline holds what the reference data are: missing values, moments, categories, an embedding and slices."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal_contract.manifest import Baseline, FeatureBaseline, TensorSpec
from shoal_hub.errors import InvalidInputError
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.registry.baseline import MAX_BINS, MAX_CATEGORIES, Reference, baseline_of, bins_of
from shoal_numerics import Embedding, Histogram
from shoal_training.bundle import Bundle, SliceSpec

ROWS = 1000


def bundle(*inputs: TensorSpec, labels: tuple[str, ...] = ("a", "b"), **changes: Any) -> Bundle:
    fields: dict[str, Any] = {
        "name": "rows",
        "algorithm": "none",
        "author": "ada",
        "framework": "onnx",
        "parameters": {},
        "metrics": {},
        "inputs": inputs or (TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),),
        "outputs": (TensorSpec(name="scores", datatype="FP32", shape=(-1, 2)),),
        "labels": labels,
        "data_sha256": "0123abcd" + "0" * 56,
        "seed": 0,
        "tool_versions": {},
        "files": {},
    }
    return Bundle.model_validate(fields | changes)


def rows(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(3.0, 2.0, size=(ROWS, 3)).astype(np.float32)


def scores(count: int = ROWS) -> NDArray[np.float32]:
    first = np.random.default_rng(9).uniform(size=count).astype(np.float32)
    return np.stack([first, 1 - first], axis=1)


def test_missing_values_are_counted_and_do_not_shape_the_moments() -> None:
    x = rows()
    x[:40, 1] = np.nan
    x[7, 2] = np.inf
    made = baseline_of(bundle(), Reference({"x": x}))
    assert [feature.missing for feature in made.features] == [0, 40, 0] == list(made.missing)
    moments = made.features[1].moments
    assert moments is not None
    assert (moments.values, moments.mean, moments.variance) == (
        960,
        pytest.approx(x[40:, 1].mean(dtype=np.float64), rel=1e-12),
        pytest.approx(x[40:, 1].var(dtype=np.float64), rel=1e-9),
    )
    assert made.features[2].moments is not None
    assert made.features[2].moments.values == ROWS - 1
    reference = reference_of(made)
    assert reference.row_count == ROWS
    assert reference.missing.tolist() == [0, 40, 0]


def test_a_feature_of_no_finite_value_has_no_moments() -> None:
    x = rows()
    x[:, 0] = np.nan
    made = baseline_of(bundle(), Reference({"x": x}))
    assert (made.features[0].moments, made.features[0].missing, len(made.features[0].counts)) == (None, ROWS, 1)


def test_each_numeric_feature_has_a_hundred_bins_so_that_every_tenth_edge_is_a_decile() -> None:
    x = np.random.default_rng(1).permutation(ROWS).astype(np.float32)[:, np.newaxis] + np.float32(0.5)
    made = baseline_of(bundle(TensorSpec(name="x", datatype="FP32", shape=(-1, 1))), Reference({"x": x}))
    assert made.features[0].counts == (10,) * 100
    assert made.features[0].edges[9::10] == tuple(np.quantile(x, np.arange(1, 10) / 10, method="inverted_cdf"))
    assert not made.features[0].is_categorical


@pytest.mark.parametrize(("features", "bins"), [(1, 100), (256, 100), (784, 32), (16_384, 20)])
def test_many_features_have_fewer_bins_each(features: int, bins: int) -> None:
    assert bins_of(features) == bins
    assert bins == 20 or features * bins <= MAX_BINS


def test_whole_numbers_of_few_values_are_categories_with_a_bin_each_and_none_for_others() -> None:
    codes = np.random.default_rng(2).choice([0, 1, 5], size=(ROWS, 1), p=[0.5, 0.3, 0.2])
    spec = TensorSpec(name="site", datatype="INT64", shape=(-1, 1))
    [feature] = baseline_of(bundle(spec), Reference({"site": codes})).features
    assert feature.is_categorical
    assert feature.edges == (-0.5, 0.5, 1.5, 4.5, 5.5)
    found = {value: int((codes == value).sum()) for value in (0, 1, 5)}
    assert feature.counts == (0, found[0], found[1], 0, found[5], 0)


@pytest.mark.parametrize(
    ("datatype", "shape", "values"),
    [("FP32", (-1, 1), 3), ("INT64", (-1, 1), MAX_CATEGORIES + 1), ("UINT8", (-1, 1, 1), 3)],
    ids=["floats", "many values", "pixels"],
)
def test_other_numbers_are_not_taken_for_categories(datatype: Any, shape: tuple[int, ...], values: int) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape)
    x = (np.arange(ROWS) % values).reshape(ROWS, *shape[1:]).astype(np.float32 if datatype == "FP32" else np.int64)
    [feature] = baseline_of(bundle(spec), Reference({"x": x})).features
    assert feature.kind is None


def test_a_declared_feature_is_categorical_if_its_values_are_whole() -> None:
    x = rows()
    x[:, 1] = np.arange(ROWS) % 40
    made = baseline_of(bundle(categorical=("x[1]",)), Reference({"x": x}))
    assert [feature.is_categorical for feature in made.features] == [False, True, False]
    assert made.features[1].counts == (0, *[25] * 40, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categorical": ("x[0]",)}, "feature x[0] is none: expected 1 to 256 whole numbers"),
        ({"categorical": ("y",)}, "no feature y; there are x[0], x[1], x[2]"),
        ({"slices": ({"name": "s", "feature": "y", "equals": 1},)}, "slice s: no feature y"),
        ({"slices": ({"name": "s", "feature": "x[0]"},)}, "expected bounds, or the value"),
        ({"slices": ({"name": "s", "feature": "x[0]", "low": 2, "high": 1},)}, "low 2.0 is not below high 1.0"),
        ({"slices": ({"name": "s", "feature": "x[0]", "low": 2},) * 2}, "two have the same name"),
    ],
)
def test_what_is_declared_and_does_not_fit_the_data_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        baseline_of(bundle(**changes), Reference({"x": rows()}, scores()))
    assert words in caught.value.message


def test_slices_count_their_samples_labels_and_confidence() -> None:
    x, found = rows(), scores()
    specs = (
        SliceSpec(name="high", feature="x[1]", low=3.0),
        SliceSpec(name="band", feature="x[0]", low=1.0, high=2.0),
    )
    made = baseline_of(bundle(slices=[one.model_dump() for one in specs]), Reference({"x": x}, found))
    assert made.slices is not None
    for one, within in zip(made.slices, (x[:, 1] > 3, (x[:, 0] > 1) & (x[:, 0] <= 2)), strict=True):
        assert one.reference.samples == within.sum() == sum(one.reference.confidence)
        assert one.reference.predictions == tuple(np.bincount(found[within].argmax(axis=1), minlength=2).tolist())
    assert [one.feature for one in made.slices] == [1, 0]


def test_a_model_without_labels_has_slices_that_count_samples_alone() -> None:
    sliced = bundle(slices=({"name": "high", "feature": "x[1]", "low": 3.0},), labels=())
    made = baseline_of(sliced, Reference({"x": rows()}))
    assert made.slices is not None
    counts = made.slices[0].reference
    assert counts.samples > 0
    assert (counts.predictions, sum(counts.confidence)) == ((), 0)


@pytest.mark.parametrize("shape", [(-1, 6, 5), (-1, -1, 5)], ids=["images", "of any height, watched as statistics"])
def test_images_are_embedded_by_a_seed_and_a_scale_that_stand_in_the_baseline(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(3).integers(0, 255, size=(200, 6, 5)).astype(np.uint8)
    spec = TensorSpec(name="image", datatype="UINT8", shape=shape)
    made = baseline_of(bundle(spec), Reference({"image": images})).embedding
    assert made is not None
    assert (made.seed, made.output) == (0x0123ABCD, None)
    flat = images.reshape(200, -1).astype(np.float32)
    assert made.reference == Embedding.of(made).sums(flat)
    assert max(map(abs, made.reference.mean)) < 0.9, "the scale suits the data: the cosines are not all alike"


def test_a_table_is_embedded_only_by_a_declared_output() -> None:
    assert baseline_of(bundle(), Reference({"x": rows()})).embedding is None
    layer = rows(5)
    made = baseline_of(bundle(embedded="scores"), Reference({"x": rows()}, None, layer)).embedding
    assert made is not None
    assert made.output == "scores"
    assert made.reference == Embedding.of(made).sums(layer)


def test_the_reference_s_missing_values_of_an_older_manifest_are_what_its_counts_fall_short_of() -> None:
    features = tuple(
        FeatureBaseline(name=name, edges=(0.5,), counts=counts) for name, counts in (("a", (5, 5)), ("b", (3, 4)))
    )
    confidence = FeatureBaseline(name="confidence", edges=(), counts=(0,))
    old = Baseline(samples=10, features=features, predictions=(), confidence=confidence)
    assert old.missing == (0, 3)
    assert reference_of(old).row_count == 10


def test_a_batch_of_the_reference_itself_has_its_counts() -> None:
    x = rows()
    x[:5, 0] = np.nan
    reference = reference_of(baseline_of(bundle(), Reference({"x": x})))
    again = Histogram.of(reference.edges, x)
    np.testing.assert_array_equal(again.counts, reference.counts)
    np.testing.assert_array_equal(again.missing, reference.missing)
