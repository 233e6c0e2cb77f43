"""Small weights become 0, in all of a weight or in two of four, and stay 0 in training."""

from typing import Any

import numpy as np
import onnx
import pytest
from tests.compression.networks import network

from shoal_compression.budget import Budget
from shoal_compression.model import Model
from shoal_compression.techniques.prune.magnitude import PruneMagnitude
from shoal_compression.techniques.prune.two_of_four import PruneTwoOfFour
from shoal_compression.trainable.graph import weights_of
from shoal_compression.trainable.settings import Training

ONCE = Training(epochs=1)


def _weights(model: Model) -> dict[str, Any]:
    large = weights_of(onnx.load_from_string(model.content))
    return {name: value for name, value in large.items() if value.ndim > 1 and value.size >= 64}


@pytest.mark.parametrize("epochs", [0, 2])
def test_every_weight_has_the_sparsity_that_was_asked_for(epochs: int) -> None:
    case = network("residual")
    technique = PruneMagnitude(sparsity=0.7, training=Training(epochs=epochs))
    for value in _weights(technique.apply(case.model, case.data, Budget())).values():
        assert abs((value == 0).mean() - 0.7) < 0.01


def test_over_the_network_small_layers_may_keep_more() -> None:
    case = network("residual")
    technique = PruneMagnitude(sparsity=0.7, scope="network", training=ONCE)
    values = list(_weights(technique.apply(case.model, case.data, Budget())).values())
    zeros = sum(int((value == 0).sum()) for value in values)
    assert abs(zeros / sum(value.size for value in values) - 0.7) < 0.01
    assert max((value == 0).mean() for value in values) - min((value == 0).mean() for value in values) > 0.1


def test_without_time_the_sparsity_is_reached_at_once() -> None:
    case = network("residual")
    made = PruneMagnitude(sparsity=0.6, training=Training(epochs=50)).apply(case.model, case.data, Budget(seconds=0))
    assert all(abs((value == 0).mean() - 0.6) < 0.01 for value in _weights(made).values())


def test_the_sparsity_rises_as_a_polynomial() -> None:
    import torch

    technique = PruneMagnitude(sparsity=0.8)
    weights = {"w": torch.arange(1.0, 1001.0)}
    found = [1 - float(technique._masks(weights, share)["w"].mean()) for share in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8], abs=1e-3)


def test_two_of_every_four_inputs_are_left() -> None:
    case = network("residual")
    made = _weights(PruneTwoOfFour(training=ONCE).apply(case.model, case.data, Budget()))
    fours = made["inner.0.weight"].transpose(0, 2, 3, 1).reshape(-1, 4)
    assert ((fours != 0).sum(axis=1) <= 2).all()
    assert ((made["hidden.weight"].reshape(-1, 4) != 0).sum(axis=1) <= 2).all()
    assert np.count_nonzero(made["begin.0.weight"]) == made["begin.0.weight"].size  # one input alone
