"""LiteRT files quantized operator by operator, from Keras and from LiteRT: what their tensors are."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import TensorType
from tests.compression.zoo import Case, digits, keras_model, noise

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.errors import TechniqueError
from shoal_compression.litert_file import open_litert
from shoal_compression.litert_quantizer import Rule
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_compression.techniques.quantize.keras_int16 import KerasInt16
from shoal_compression.techniques.quantize.litert_int8 import LitertInt8
from shoal_compression.techniques.quantize.litert_mixed import LitertMixed
from shoal_compression.techniques.quantize.litert_weights import LitertWeights
from shoal_compression.tensorflow_runtime import load_keras

BUDGET = Budget(seconds=300)
FLOAT_BYTES = 4 * 38_000
"""Of the network's weights."""


@pytest.fixture
def keras_case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "keras")


@pytest.fixture
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "tflite")


def _types(model: Model) -> Counter[str]:
    details = Interpreter(model_content=model.content, num_threads=1).get_tensor_details()
    return Counter(np.dtype(one["dtype"]).name for one in details)


def _float_bytes(model: Model) -> int:
    """Return how many bytes of float32 constants the file holds."""
    opened = open_litert(model.content)
    places = {one.buffer for graph in opened.subgraphs for one in graph.tensors if one.type == TensorType.FLOAT32}
    return sum(len(opened.buffers[place].data) for place in places if opened.buffers[place].data is not None)


def _noise_ratio(case: Case, made: Model) -> float:
    answers = (outputs_of(one, case.data.test)["probabilities"] for one in (case.model, made))
    return sqnr_db(*answers)


def test_full_int8_of_keras_leaves_only_the_ends_in_float(keras_case: Case) -> None:
    made = KerasInt8().apply(keras_case.model, keras_case.data, BUDGET)
    assert _types(made)["float32"] == 2
    assert made.size_bytes < FLOAT_BYTES / 3


def test_int16_activations_come_nearer_to_float_than_int8(keras_case: Case) -> None:
    kinds = (KerasInt8(), KerasInt16())
    narrow, wide = (_noise_ratio(keras_case, kind.apply(keras_case.model, keras_case.data, BUDGET)) for kind in kinds)
    assert wide > narrow + 3


def test_full_int8_of_litert_leaves_no_weight_in_float(case: Case) -> None:
    made = LitertInt8().apply(case.model, case.data, BUDGET)
    assert made.size_bytes < FLOAT_BYTES / 3
    assert _float_bytes(made) == 0
    assert _float_bytes(case.model) > FLOAT_BYTES


def test_a_layer_that_is_kept_stays_in_float(case: Case) -> None:
    made = LitertInt8(keep_float=("hidden",)).apply(case.model, case.data, BUDGET)
    assert made.size_bytes > 512 * 64 * 4
    assert _types(made)["float32"] > 2
    assert _types(made)["int8"] > 2


def test_int4_weights_are_half_of_int8_s(case: Case) -> None:
    four, eight = (LitertWeights(weights=one).apply(case.model, case.data, BUDGET) for one in ("int4", "int8"))
    assert four.size_bytes < 0.6 * eight.size_bytes


def test_the_least_squared_error_beats_the_largest_element_at_four_bits(case: Case) -> None:
    widest, best = (
        _noise_ratio(case, LitertWeights(weights="int4", algorithm=one).apply(case.model, case.data, BUDGET))
        for one in ("min-max", "mse")
    )
    assert best > widest


def test_the_last_rule_that_fits_counts(case: Case) -> None:
    rules = (Rule(compute="dynamic", weight_bits=4), Rule(layers="hidden", compute="float32"), Rule(compute="dynamic"))
    found = LitertMixed(rules=rules).apply(case.model, case.data, BUDGET)
    assert found.content == LitertWeights(weights="int8").apply(case.model, case.data, BUDGET).content


def test_rules_that_fit_nothing_are_refused(case: Case) -> None:
    with pytest.raises(TechniqueError, match="no operator fits the rules"):
        LitertMixed(rules=(Rule(layers="encoder"),)).apply(case.model, case.data, BUDGET)


def test_an_operator_that_litert_does_not_have_is_refused(case: Case) -> None:
    with pytest.raises(TechniqueError, match="'GRAVITY' is not a valid"):
        LitertMixed(rules=(Rule(operators="GRAVITY"),)).apply(case.model, case.data, BUDGET)


def test_a_layer_without_a_builtin_operator_says_what_to_do() -> None:
    keras = load_keras()
    image = keras.layers.Input((8,), name="x")
    model = keras_model(keras.Model(image, keras.ops.erfinv(keras.layers.Dense(3, activation="tanh")(image))))
    with pytest.raises(TechniqueError, match=r"to LiteRT as int8: .*Erfinv.*replace that layer, or convert to ONNX"):
        KerasInt8().apply(model, noise(model), BUDGET)
