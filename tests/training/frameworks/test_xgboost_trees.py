"""What XGBoost's trainer does beyond the suite."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError
from tests.training.frameworks.trainers import blobs, changed

from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import TrainContext
from shoal_training.frameworks.xgboost_trees import XGBoost
from shoal_training.transforms.parity import check_same


def test_of_two_classes_both_scores_are_told_and_written(tmp_path: Path) -> None:
    train = blobs(200)
    assert train.y is not None
    two = changed(train, y=(train.y > 0).astype(np.int64))
    fitted = XGBoost(rounds=20).fit(two, None, TrainContext("classification", 2, tmp_path, seed=1, threads=1))
    scores = fitted.scores(train.x)
    assert scores.shape == (200, 2)
    assert (scores.argmax(axis=1) == two.y).mean() > 0.9
    [found] = onnxruntime.InferenceSession(fitted.graph().SerializeToString()).run(["scores"], {"x": train.x})
    check_same("the trees", scores, found)


def test_parameters_that_follow_from_the_task_are_refused_where_they_are_given() -> None:
    with pytest.raises(ValidationError, match="`parameters` has objective, seed, which have fields of their own"):
        XGBoost(parameters={"seed": 1, "objective": "reg:tweedie"})


def test_what_xgboost_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="training boosted trees: .*subsample") as caught:
        XGBoost(parameters={"subsample": 7.0}).fit(blobs(60), None, TrainContext("classification", 3, tmp_path))
    assert "\n" not in str(caught.value)
