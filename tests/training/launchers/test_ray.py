"""Training on Ray: the same model as here, errors as themselves, and a worker that is killed costs an interval."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.training.frameworks.trainers import blobs, changed
from tests.training.launchers.test_torchrun import BATCH, EPOCHS, ROWS, STEPS, context, done, trainer

from shoal_training.errors import DataError, LaunchError
from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.frameworks.trainer import History
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.launchers.launcher import Local
from shoal_training.launchers.ray import JOB_FOLDER, Ray
from shoal_training.launchers.torchrun import Torchrun

pytestmark = pytest.mark.timeout(300)
FOREST = ScikitLearn(algorithm="random_forest", parameters={"n_estimators": 5})


def test_one_worker_trains_what_this_process_would(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    train, held_out = blobs(ROWS), blobs(60, seed=1)
    asked = context(tmp_path / "a", progress=lambda _stage, at, total: told.append((at, total)))
    found = Ray().fit(FOREST, train, held_out, asked)
    here = Local(threads=1).fit(FOREST, train, held_out, context(tmp_path / "b"))
    np.testing.assert_array_equal(found.scores(held_out.x), here.scores(held_out.x))
    assert told == [(0, 1), (1, 1)]
