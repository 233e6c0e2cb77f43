"""The guide's pipeline file is one, its own metric runs, and the names that it lists are those that are measured."""

import re
from pathlib import Path

import numpy as np

from shoal_training.evaluation.metrics import metrics_of
from shoal_training.evaluation.schemes import BY_KIND
from shoal_training.pipeline.reading import parse_pipeline

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "training-evaluation.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_pipeline_file_is_one() -> None:
    pipeline = parse_pipeline(block("yaml"))
    assert pipeline.model_training.tuning is not None
    assert pipeline.model_evaluation.fairness is not None
    assert pipeline.model_evaluation.champion is not None
    assert len(pipeline.model_evaluation.slices) == 3


def test_the_metric_of_one_s_own_runs() -> None:
    names: dict[str, object] = {}
    exec(block("python"), names)  # noqa: S102 - the guide's own code
    cost = names["cost"]
    assert callable(cost)
    assert cost(np.array([1, 0]), np.array([[0.9, 0.1], [0.9, 0.1]])) == 250.0


def test_every_metric_and_scheme_is_named() -> None:
    tasks = ("classification", "regression", "anomaly")
    measured = {one.name for task in tasks for one in metrics_of(task, threshold=0.0)}
    for name in measured - {"absolute_error_p90", "absolute_error_p95"} | set(BY_KIND):
        assert f"`{name}`" in GUIDE, name
