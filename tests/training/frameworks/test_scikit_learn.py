"""Every algorithm that a pipeline can name is fitted and written as ONNX that says the same."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.training.frameworks.trainers import blobs, changed, line

from shoal_training.errors import DataError
from shoal_training.frameworks.scikit_learn import ALGORITHMS, ScikitLearn
from shoal_training.frameworks.trainer import Samples, TrainContext
from shoal_training.transforms.parity import check_same


def context(folder: Path, task: str) -> TrainContext:
    return TrainContext(task, 3 if task == "classification" else 0, folder, seed=1, threads=1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_written_as_it_was_fitted(algorithm: str, tmp_path: Path) -> None:
    task = ALGORITHMS[algorithm][2]
    train = line(150) if task == "regression" else blobs(150)
    if task == "anomaly":
        train = Samples(train.x, None)
    fast = {"n_estimators": 10} if "forest" in algorithm or "extra" in algorithm else {}
    fitted = ScikitLearn(algorithm=algorithm, parameters=fast).fit(train, None, context(tmp_path, task))
    x = (line(80, seed=1) if task == "regression" else blobs(80, seed=1)).x
    session = onnxruntime.InferenceSession(fitted.graph().SerializeToString())
    [found] = session.run(["scores"], {"x": x})
    check_same(algorithm, fitted.scores(x), found)
    if task == "anomaly":
        far = fitted.scores(np.full((1, 4), 40, dtype=np.float32))
        assert far[0] > np.median(fitted.scores(x)), "the odder, the greater"


def test_weights_for_what_takes_none_are_refused(tmp_path: Path) -> None:
    weighted = changed(blobs(60), weight=np.ones(60, dtype=np.float32))
    with pytest.raises(DataError, match="training k_neighbours: it takes no weights of rows or classes"):
        ScikitLearn(algorithm="k_neighbours").fit(weighted, None, context(tmp_path, "classification"))


def test_samples_that_are_no_rows_of_numbers_are_refused(tmp_path: Path) -> None:
    images = Samples(np.zeros((9, 4, 4), dtype=np.float32), np.arange(9, dtype=np.int64) % 3)
    with pytest.raises(DataError, match=r"of shape \(4, 4\) found, expected a row of numbers each"):
        ScikitLearn(algorithm="random_forest").fit(images, None, context(tmp_path, "classification"))
