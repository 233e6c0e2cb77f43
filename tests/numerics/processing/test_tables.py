"""Tables: as scikit-learn encodes and scales them, and each bad row by itself with a clear reason."""

from typing import Any

import numpy as np
import pytest

from shoal_contract.manifest import Datatype, TensorSpec
from shoal_contract.processing import CategoryFeature, NumberFeature, TabularInput
from shoal_numerics.processing.columns import MISSING, UNKNOWN, to_codes, to_numbers
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.made import Made
from shoal_numerics.processing.tables import make_table


def objects(*values: object) -> np.ndarray:
    column = np.empty(len(values), dtype=np.object_)
    column[:] = values
    return column


def make(columns: dict[str, np.ndarray], *features: Any, datatype: Datatype = "FP32") -> Made:
    made = TabularInput(features=features)
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, made.width))
    return make_table(made, spec, columns, len(next(iter(columns.values()))))


def test_standardised_numbers_are_scikit_learn_s() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="a device has no scikit-learn")
    values = np.random.default_rng(1).normal(3.0, 5.0, (50, 1))
    scaler = preprocessing.StandardScaler().fit(values)
    found = make({"v": values[:, 0]}, NumberFeature(name="v", mean=scaler.mean_[0], std=scaler.scale_[0]))
    np.testing.assert_allclose(found.array, scaler.transform(values), rtol=1e-6)


@pytest.mark.parametrize("encoding", ["one_hot", "ordinal"])
def test_encoded_words_are_scikit_learn_s(encoding: Any) -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="a device has no scikit-learn")
    words = np.random.default_rng(2).choice(["red", "green", "blue", "violet"], (60, 1)).astype(np.object_)
    vocabulary = ["blue", "green", "red"]
    if encoding == "one_hot":
        encoder = preprocessing.OneHotEncoder(categories=[vocabulary], handle_unknown="ignore", sparse_output=False)
    else:
        encoder = preprocessing.OrdinalEncoder(
            categories=[vocabulary], handle_unknown="use_encoded_value", unknown_value=-1
        )
    feature = CategoryFeature(name="c", vocabulary=tuple(vocabulary), encoding=encoding, unknown="encode")
    np.testing.assert_array_equal(make({"c": words[:, 0]}, feature).array, encoder.fit_transform(words))


def test_features_stand_in_the_declared_order_whatever_the_data_s() -> None:
    columns = {"b": np.array([2.0]), "a": np.array([1.0]), "c": objects("y"), "unused": objects("z")}
    features = (NumberFeature(name="a"), CategoryFeature(name="c", vocabulary=("x", "y")), NumberFeature(name="b"))
    assert make(columns, *features).array.tolist() == [[1.0, 0.0, 1.0, 2.0]]


def test_a_number_is_filled_then_clipped_then_standardised() -> None:
    column = np.array([np.nan, -100.0, 100.0, 3.0])
    feature = NumberFeature(name="v", fill=50.0, low=0.0, high=10.0, mean=5.0, std=5.0)
    assert make({"v": column}, feature).array[:, 0].tolist() == [1.0, -1.0, 1.0, pytest.approx(-0.4)]


@pytest.mark.parametrize("missing", [None, "", float("nan"), "nan"])
def test_what_is_missing_is_refused_unless_something_stands_for_it(missing: object) -> None:
    column = objects(1.0, missing, "2.5")
    found = make({"v": column}, NumberFeature(name="v"))
    assert found.refused == {1: "column 'v': the value is missing"}
    assert found.array[[0, 2], 0].tolist() == [1.0, 2.5]
    assert make({"v": column}, NumberFeature(name="v", fill=7.0)).array[:, 0].tolist() == [1.0, 7.0, 2.5]


@pytest.mark.parametrize("bad", ["abc", [1], "inf", float("-inf"), "1e999", 10**400])
def test_what_is_no_number_is_refused_with_what_was_found(bad: object) -> None:
    found = make({"v": objects(1.0, bad)}, NumberFeature(name="v", fill=0.0))
    assert found.refused.keys() == {1}
    assert "is no finite number" in found.refused[1]
    assert repr(bad)[:20] in found.refused[1]
    assert found.array[0, 0] == 1.0


def test_an_unknown_word_is_refused_or_encoded_and_a_missing_one_filled() -> None:
    column = objects("a", "z", None, "b")
    feature = CategoryFeature(name="c", vocabulary=("a", "b"), encoding="ordinal")
    assert make({"c": column}, feature).refused == {
        1: "column 'c': 'z' is not in the vocabulary",
        2: "column 'c': the value is missing",
    }
    lenient = feature.model_copy(update={"unknown": "encode", "unknown_code": 2, "fill": "b"})
    assert make({"c": column}, lenient, datatype="INT64").array[:, 0].tolist() == [0, 2, 1, 1]


@pytest.mark.parametrize(
    ("column", "codes"),
    [
        (np.array([3, 7, 3]), [0, UNKNOWN, 0]),
        (np.array([3.0, np.nan, 2.5]), [0, MISSING, 2]),
        (np.array([True, False]), [1, UNKNOWN]),
        (objects(3, 3.0, "3", "3.0", bool(1), None, "", b"true", 2.5, [3]), [0, 0, 0, -1, 1, -2, -2, 1, 2, -1]),
    ],
)
def test_numbers_and_truths_are_words_of_a_vocabulary(column: np.ndarray, codes: list[int]) -> None:
    assert to_codes(column, {"3": 0, "true": 1, "2.5": 2}).tolist() == codes


def test_an_empty_word_counts_where_the_vocabulary_has_it() -> None:
    assert to_codes(objects("", None), {"": 0}).tolist() == [0, MISSING]


def test_a_row_is_refused_once_with_the_first_reason() -> None:
    columns = {"a": objects("x"), "b": objects(None)}
    found = make(columns, NumberFeature(name="a"), NumberFeature(name="b"))
    assert found.refused == {0: "column 'a': 'x' is no finite number"}


def test_a_column_that_is_not_there_is_an_error_of_the_whole() -> None:
    with pytest.raises(ProcessingError, match="no column 'age'; the data has name, weight"):
        make({"weight": np.zeros(2), "name": objects("a", "b")}, NumberFeature(name="age"))


def test_long_values_are_cut_short_in_reasons() -> None:
    found = make({"v": objects("x" * 5000)}, NumberFeature(name="v"))
    assert len(found.refused[0]) < 120


def test_whole_columns_of_text_are_read_as_numbers() -> None:
    found = to_numbers(objects(*[str(n / 7) for n in range(100)]))
    assert found.values.tolist() == [n / 7 for n in range(100)]
    assert not found.is_missing.any()


def test_a_table_of_no_rows_is_one() -> None:
    columns = {"v": np.empty(0), "c": objects()}
    found = make(columns, NumberFeature(name="v"), CategoryFeature(name="c", vocabulary=("a", "b")))
    assert found.array.shape == (0, 3)
