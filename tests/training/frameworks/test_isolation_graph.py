"""An isolation forest is written as one ensemble of trees, which says what scikit-learn says of every row."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from sklearn.ensemble import IsolationForest

from shoal_training.explain.tree_graph import trees_of
from shoal_training.frameworks.isolation_graph import isolation_graph

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(300, 6)).astype(np.float32)


def scores_of(graph: Any, x: np.ndarray) -> np.ndarray:
    session: Any = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["scores"], {"x": x})[0]
    return found


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"max_features": 0.5, "bootstrap": True},
        {"max_samples": 2},
        {"contamination": 0.1, "max_samples": 7},
    ],
)
def test_scores_are_those_of_scikit_learn_near_and_far(parameters: dict[str, Any]) -> None:
    forest = IsolationForest(n_estimators=30, random_state=1, **parameters).fit(ROWS)
    x = np.concatenate([ROWS, RANDOM.normal(size=(500, 6)).astype(np.float32) * 4])
    found = scores_of(isolation_graph(forest), x)
    assert found.shape == (800,)
    np.testing.assert_allclose(found, -forest.decision_function(x), atol=2e-6)


def test_numbers_at_a_threshold_turn_as_they_do_in_scikit_learn() -> None:
    forest = IsolationForest(n_estimators=20, random_state=1).fit(ROWS)
    used = [one.tree_ for one in forest.estimators_]
    at = np.concatenate([one.threshold[one.feature >= 0] for one in used]).astype(np.float32)[:400]
    x = np.repeat(at[:, np.newaxis], 6, axis=1)
    near = np.concatenate([x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))])
    np.testing.assert_allclose(scores_of(isolation_graph(forest), near), -forest.decision_function(near), atol=2e-6)


def test_its_trees_are_explained_as_a_sum_that_a_function_is_applied_to() -> None:
    forest = IsolationForest(n_estimators=5, random_state=1).fit(ROWS)
    graph = isolation_graph(forest)
    assert len(graph.graph.node) == 4
    found = trees_of(graph)
    assert found is not None
    assert (len(found.trees), found.is_margin) == (5, True)
