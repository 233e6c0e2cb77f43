"""The trainers that one check suite is run against, each small and quick, and a problem that all of them can learn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.onnx_samples import Array

FEATURES = 4
CLASSES = 3


@dataclass(frozen=True)
class Case:
    """One trainer under the suite.

    Attributes:
        name: Of the test.
        framework: As a pipeline file names it.
        fields: Of the trainer; quick.
        task: What it learns here.
        stops: Fields under which it ends early, given a patience; None: it has no early stopping.
        interval: How many rounds or epochs a checkpoint covers; None: it trains at once.
        huge: Fields of one that fits no memory; None: what it needs depends on the data alone.
        is_slow: Whether it differs too little from another one to be run each time.
    """

    name: str
    framework: str
    fields: dict[str, Any]
    task: Any = "classification"
    stops: dict[str, Any] | None = None
    interval: int | None = 1
    huge: dict[str, Any] | None = None
    is_slow: bool = False

    def trainer(self, **fields: Any) -> Trainer:
        return BY_NAME[self.framework].model_validate(self.fields | fields)

    def problem(self, rows: int = 240, seed: int = 0) -> Samples:
        return blobs(rows, seed) if self.task == "classification" else line(rows, seed)

    def context(self, folder: Path, **fields: Any) -> TrainContext:
        classes = CLASSES if self.task == "classification" else 0
        return TrainContext(
            **({"task": self.task, "classes": classes, "folder": folder, "seed": 3, "threads": 1} | fields)
        )

    def fit(self, train: Samples, folder: Path, held_out: Samples | None = None, **fields: Any) -> Fitted:
        return self.trainer().fit(train, held_out, self.context(folder, **fields))


NETWORK = {"network": {"kind": "mlp", "hidden": [16], "dropout": 0.1}, "epochs": 12, "batch": 16}
QUICK = {"optimizer": {"name": "adamw", "learning_rate": 0.02}}
STOPS = {"epochs": 60, "early_stopping": {"patience": 2, "watched_ratio": 0.25}}
HUGE = {"network": {"kind": "mlp", "hidden": [1_000_000, 1_000_000]}}
TREES = {"rounds": 24, "max_depth": 3, "learning_rate": 0.4, "checkpoint_rounds": 4, "parameters": {"subsample": 0.7}}
TREES_STOP = {"rounds": 300, "early_stopping": {"patience": 2, "watched_ratio": 0.25}}

CASES = (
    Case("torch", "torch", NETWORK | QUICK, stops=STOPS, huge=HUGE),
    Case("torch-numbers", "torch", NETWORK | QUICK, task="regression", stops=STOPS, huge=HUGE),
    Case("keras", "keras", NETWORK | QUICK, stops=STOPS, huge=HUGE),
    Case("keras-numbers", "keras", NETWORK | QUICK, task="regression", stops=STOPS, huge=HUGE, is_slow=True),
    Case("sklearn", "sklearn", {"algorithm": "random_forest", "parameters": {"n_estimators": 20}}, interval=None),
    Case("sklearn-numbers", "sklearn", {"algorithm": "ridge"}, task="regression", interval=None),
    Case("xgboost", "xgboost", TREES, stops=TREES_STOP, interval=4),
    Case("xgboost-numbers", "xgboost", TREES, task="regression", stops=TREES_STOP, interval=4),
)


def blobs(rows: int, seed: int = 0) -> Samples:
    """Three clouds, of which a tenth lies among the others."""
    random = np.random.default_rng([11, seed])
    y = np.arange(rows, dtype=np.int64) % CLASSES
    centres = np.eye(CLASSES, FEATURES) * 4
    x = (centres[y] + random.normal(size=(rows, FEATURES))).astype(np.float32)
    return Samples(x, y)


def line(rows: int, seed: int = 0) -> Samples:
    """A plane far from 0, with some noise."""
    random = np.random.default_rng([12, seed])
    x = random.normal(size=(rows, FEATURES)).astype(np.float32)
    y = x @ np.array([3.0, -2.0, 1.0, 0.0]) + 50 + random.normal(size=rows) * 0.1
    return Samples(x, y.astype(np.float32))


def changed(samples: Samples, **fields: Any) -> Samples:
    """Return samples with other arrays: a tuple whose length is its rows' number has no `_replace`."""
    return Samples(**(samples._asdict() | fields))


def killed_after(step: int) -> Callable[[str, float, int], None]:
    """Return a metric that ends a training as a kill would, once so many epochs or rounds are done."""

    def tell(_name: str, _value: float, at: int) -> None:
        if at >= step:
            raise KilledError

    return tell


class KilledError(BaseException):
    """No error that anything would handle."""


def error_of(case: Case, scores: Array, samples: Samples) -> float:
    """Return the share of wrong classes, or the mean error by the answers' deviation."""
    assert samples.y is not None
    if case.task == "classification":
        return float((scores.argmax(axis=1) != samples.y).mean())
    return float(np.abs(scores - samples.y).mean() / samples.y.std())
