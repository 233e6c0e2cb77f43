"""Weights share few values, and the file holds which."""

import numpy as np
import onnx
import pytest
from tests.compression.networks import network

from shoal_compression.budget import Budget
from shoal_compression.comparing import accuracy
from shoal_compression.errors import TechniqueError
from shoal_compression.running import outputs_of
from shoal_compression.techniques.cluster.weights import ClusterWeights, k_means
from shoal_compression.trainable.graph import weights_of
from shoal_compression.trainable.settings import Training


@pytest.mark.parametrize(("clusters", "smaller"), [(16, 4.5), (256, 2.3)])
def test_the_file_gets_smaller_and_the_task_is_kept(clusters: int, smaller: float) -> None:
    case = network("residual")
    made = ClusterWeights(clusters=clusters, training=Training(epochs=1)).apply(case.model, case.data, Budget())
    assert case.model.size_bytes > smaller * made.size_bytes
    labels = case.data.test.labels
    assert labels is not None
    was, now = (accuracy(outputs_of(one, case.data.test)["y"], labels) for one in (case.model, made))
    assert now > was - 0.02


def test_training_moves_the_shared_values_and_not_who_shares_them() -> None:
    case = network("residual")
    made = [
        weights_of(onnx.load_from_string(technique.apply(case.model, case.data, Budget()).content))
        for technique in (ClusterWeights(training=Training(epochs=0)), ClusterWeights(training=Training(epochs=1)))
    ]
    assert np.array_equal(made[0]["hidden.weight.places"], made[1]["hidden.weight.places"])
    assert len(made[1]["hidden.weight.values"]) == 16
    assert not np.array_equal(made[0]["hidden.weight.values"], made[1]["hidden.weight.values"])


def test_each_value_is_at_its_nearest_centre() -> None:
    values = np.random.default_rng(0).normal(size=500)
    centres, places = k_means(values, 8)
    assert np.array_equal(places, np.abs(values[:, None] - centres).argmin(axis=1))
    assert ((values - centres[places]) ** 2).mean() < 0.05


def test_a_model_of_small_weights_is_refused() -> None:
    case = network("gated")
    with pytest.raises(TechniqueError, match="set `least_elements` lower"):
        ClusterWeights(least_elements=1_000_000).apply(case.model, case.data, Budget())
