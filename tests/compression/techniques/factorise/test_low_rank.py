"""Large weights become two of lower rank."""

import numpy as np
import onnx
import pytest
from tests.compression.networks import network

from shoal_compression.budget import Budget
from shoal_compression.errors import TechniqueError
from shoal_compression.running import outputs_of
from shoal_compression.techniques.factorise.low_rank import Factorise
from shoal_compression.trainable.graph import weights_of, with_weights
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.settings import Training

UNTRAINED = Training(epochs=0)


@pytest.mark.parametrize(
    ("kind", "names"), [("residual", ["inner.0.weight", "hidden.weight"]), ("attending", ["val_41"])]
)
def test_weights_of_low_rank_are_factorised_without_a_trace(kind: str, names: list[str]) -> None:
    case = network(kind)
    proto = Network(case.model).proto
    weights = weights_of(proto)
    for name in names:
        flat = weights[name].reshape(len(weights[name]), -1)
        left, singular, right = np.linalg.svd(flat, full_matrices=False)
        low = (left[:, :3] * singular[:3]) @ right[:3]
        weights[name] = low.reshape(weights[name].shape).astype(np.float32)
    simple = case.model.with_content(with_weights(proto, weights).SerializeToString())
    made = Factorise(energy=0.999999, training=UNTRAINED).apply(simple, case.data, Budget())
    left_over = weights_of(onnx.load_from_string(made.content))
    assert all(min(left_over[f"{name}.first"].shape[:2]) == 3 for name in names)
    wanted, found = (outputs_of(one, case.data.test)["y"] for one in (simple, made))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_ratio_bounds_what_is_left_to_multiply() -> None:
    case = network("residual")
    made = Factorise(ratio=0.3, training=UNTRAINED).apply(case.model, case.data, Budget())
    weights = weights_of(onnx.load_from_string(made.content))
    both = weights["hidden.weight.first"].size + weights["hidden.weight.second"].size
    assert both <= 0.3 * 32 * 864
    assert "hidden.weight" not in weights


def test_where_nothing_is_gained_it_is_refused() -> None:
    case = network("residual")
    with pytest.raises(TechniqueError, match="set `energy` lower"):
        Factorise(energy=1.0, training=UNTRAINED).apply(case.model, case.data, Budget())
