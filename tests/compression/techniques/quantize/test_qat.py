"""Int8 that is trained is int8 still, and says more like the float model than before training."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from tests.compression.networks import KINDS, network
from tests.compression.zoo import Case

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.qat import QuantizeAware
from shoal_compression.techniques.quantize.simulated import held_weights
from shoal_compression.trainable.graph import weights_of
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.settings import Training

SOFT = Training(epochs=2, learning_rate=3e-4, hard=0.0, soft=1.0, temperature=1.0)


def _quantized(case: Case, epochs: int) -> Model:
    technique = QuantizeAware(training=SOFT.model_copy(update={"epochs": epochs}))
    return technique.apply(case.model, case.data, Budget())


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_the_trained_view_of_it_says(kind: str) -> None:
    case = network(kind)
    made = _quantized(case, 1)
    assert made.precision == "int8"
    found = Network(made)({"x": torch.from_numpy(case.data.test.inputs["x"])})["y"].detach().numpy()
    assert sqnr_db(outputs_of(made, case.data.test)["y"], found) > 30


def test_training_brings_it_nearer_to_the_float_model() -> None:
    case = network("residual")
    wanted = outputs_of(case.model, case.data.test)["y"]
    coarse, fine = (sqnr_db(wanted, outputs_of(_quantized(case, n), case.data.test)["y"]) for n in (0, 2))
    assert fine > coarse - 1


def test_ranges_are_learnt_and_biases_have_the_scale_that_integer_kernels_take() -> None:
    case = network("residual")
    before, after = (onnx.load_from_string(_quantized(case, epochs).content) for epochs in (0, 1))
    old, new = weights_of(before), weights_of(after)
    scales = [name for name, one in new.items() if name.endswith("_scale") and one.dtype == np.float32]
    assert any(not np.array_equal(old[name], new[name]) for name in scales)
    kinds = {one.name: one.data_type for one in after.graph.initializer}
    held = held_weights(after)
    assert {kinds[one.node.input[0]] for one in held} <= {TensorProto.UINT8, TensorProto.INT32}
    makers = {node.output[0]: node for node in after.graph.node}
    for node in after.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            x, weight, bias = (new[makers[name].input[1]] for name in node.input)
            np.testing.assert_allclose(bias.reshape(-1), x * weight.reshape(-1), rtol=1e-6)


def test_a_model_that_is_quantized_already_is_trained_as_it_is() -> None:
    case = network("residual")
    placed = _quantized(case, 0)
    made = QuantizeAware(training=SOFT).apply(placed, case.data, Budget())
    nodes = [[node.op_type for node in onnx.load_from_string(one.content).graph.node] for one in (placed, made)]
    assert nodes[0] == nodes[1]
    assert made.sha256 != placed.sha256
