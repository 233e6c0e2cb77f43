"""Labels that are no classes of the model, or no numbers, are refused with how to give them."""

import numpy as np
import pytest

from shoal_compression.data import Data, Samples
from shoal_compression.errors import DataError
from shoal_compression.labels import check_labels
from shoal_compression.model import Model
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import Array


def answering(*shape: int, datatype: str = "FP32", batch: tuple[int, ...] = (-1,)) -> Model:
    ends = (TensorSpec(name="x", datatype="FP32", shape=(*batch, 4)),)
    return Model("onnx", b"x", ends, (TensorSpec(name="y", datatype=datatype, shape=(*batch, *shape)),))  # type: ignore[arg-type]


CLASSES = np.array([0, 1, 2, 0])
ONE_HOT = np.eye(3)[CLASSES]


@pytest.mark.parametrize(
    ("labels", "model", "said"),
    [
        (np.array(["a", "b"]), answering(3), r"labels: <U1 found, expected numbers; give the class .* integer from 0"),
        (
            CLASSES.astype(np.float32),
            answering(3),
            r"float32 found beside 3 outputs, expected integers; .*astype\(int\)",
        ),
        (np.array([0, np.nan, 1]), answering(3), r"labels: NaN or infinity in 1 samples, first 1; leave them out"),
        (np.array([0, np.inf]), answering(1), r"labels: NaN or infinity in 1 samples, first 1"),
        (CLASSES + 1, answering(3), r"int64 1 to 3 found beside 3 outputs, expected 0 to 2; number the classes from 0"),
        (CLASSES - 1, answering(-1), r"int64 -1 to 1 found .*, expected 0 or more"),
        (ONE_HOT, answering(3), r"shape \[4, 3\] found, expected one for each sample; .*argmax\(axis=1\) if one-hot"),
        (ONE_HOT.astype(int), answering(3), r"shape \[4, 3\] found, expected one for each sample"),
        (CLASSES, answering(1), r"0 to 2 found beside one output, expected 0 to 1; .*no classes, give floats"),
        (CLASSES > 0, answering(3), r"bool 0 to 1 found beside 3 outputs"),
        (CLASSES + 1, answering(1, 3, batch=()), r"1 to 3 found beside 3 outputs"),
    ],
)
def test_labels_that_are_no_classes_of_the_model_are_refused(labels: Array, model: Model, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_labels(labels, model, "checking the test samples")


@pytest.mark.parametrize(
    ("labels", "model"),
    [
        (CLASSES, answering(3)),
        (CLASSES[:, None].astype(np.uint8), answering(3)),
        (CLASSES > 0, answering(2)),
        (CLASSES > 0, answering(1)),
        (CLASSES[:2], answering()),
        (np.array([3.0, 17.0]), answering(1)),  # a number to predict may be whole
        (np.array([[0.5], [1.5]]), answering()),
        (np.array([[0.5, 2.0, 1.0]]), answering(3)),  # several numbers to predict
        (np.array([[4.0, 2.0, 1.0]]), answering(3)),
        (np.array([-1, 7]), answering(datatype="INT64")),  # the model says the class itself
        (np.array([5, 700]), answering(-1)),
    ],
)
def test_classes_and_numbers_that_a_model_may_answer_are_taken(labels: Array, model: Model) -> None:
    check_labels(labels, model, "checking")


def test_data_checks_the_labels_and_slices_of_each_part() -> None:
    x = {"x": np.zeros((4, 4), np.float32)}
    good, bad = Samples(x, CLASSES), Samples(x, CLASSES + 1)
    Data(good, good, good).check(answering(3))
    with pytest.raises(DataError, match="checking the test samples: labels: int64 1 to 3 found"):
        Data(good, bad).check(answering(3))
    with pytest.raises(DataError, match=r"slice site: shape \[4, 1\] found"):
        Data(good, Samples(x, CLASSES, {"site": np.zeros((4, 1))})).check(answering(3))
    with pytest.raises(DataError, match="a single value without an axis found"):
        Samples(x, np.array(3))
