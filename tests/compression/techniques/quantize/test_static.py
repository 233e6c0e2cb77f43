"""Static int8: schemes, calibration, graph validity, and what it refuses."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.compression.techniques.quantize.nets import graph, outliers, products
from tests.compression.zoo import spec

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.data import Data, Samples
from shoal_compression.errors import DataError, SourceError, TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.qdq import chosen_nodes, weights_of
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_numerics.tensors import Array

SCHEMES = [("u8u8", False), ("u8s8", True), ("u8s8", False), ("s8s8", False)]


@pytest.mark.parametrize(("types", "reduce_range"), SCHEMES)
def test_every_scheme_stays_close_to_the_float_model(types: str, reduce_range: bool) -> None:
    model, data = outliers(spread=0)
    technique = Int8Static.model_validate({"types": types, "reduce_range": reduce_range})
    made = technique.apply(model, data, Budget())
    was, now = (outputs_of(one, data.test)["y"] for one in (model, made))
    assert sqnr_db(was, now) > 20


def test_a_graph_that_names_its_opset_twice_is_taken() -> None:
    model, data = outliers(spread=0)
    proto = onnx.load_from_string(model.content)
    proto.opset_import.add(domain="", version=17)
    made = Int8Static().apply(model.with_content(proto.SerializeToString()), data, Budget())
    assert [one.domain for one in onnx.load_from_string(made.content).opset_import].count("") == 1


@pytest.mark.parametrize("calibration", ["min-max", "percentile", "mse", "entropy"])
def test_every_calibration_stays_close_to_the_float_model(calibration: str) -> None:
    model, data = outliers(spread=0)
    made = Int8Static.model_validate({"calibration": calibration}).apply(model, data, Budget())
    was, now = (outputs_of(one, data.test)["y"] for one in (model, made))
    assert sqnr_db(was, now) > 15


def test_weights_have_a_scale_for_each_channel_only_where_asked() -> None:
    model, data = outliers(spread=0)
    sizes = {}
    for granularity in ("per-channel", "convolutions", "per-tensor"):
        technique = Int8Static.model_validate({"granularity": granularity})
        made = onnx.load_from_string(technique.apply(model, data, Budget()).content)
        sizes[granularity] = [weight.scale.size for weight in weights_of(made)]
    assert sizes == {"per-channel": [8, 8, 4], "convolutions": [8, 8, 1], "per-tensor": [1, 1, 1]}


@pytest.mark.parametrize(("spread", "sizes"), [(0, [1, 1, 1]), (6, [8, 8, 1])])
def test_one_scale_for_all_channels_serves_where_they_are_alike(spread: float, sizes: list[int]) -> None:
    model, data = outliers(spread=spread)
    made = Int8Static(granularity="where-needed").apply(model, data, Budget())
    assert [one.scale.size for one in weights_of(onnx.load_from_string(made.content))] == sizes


def test_a_mean_is_in_8_bits_behind_a_convolution_and_not_within_a_normalisation() -> None:
    random = np.random.default_rng(0)
    weights: dict[str, Array] = {
        "w": random.normal(size=(16, 16)).astype(np.float32),
        "k": random.normal(size=(3, 1, 3, 3)),
    }
    weights["k"] = weights["k"].astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["mixed"], "mixing"),
        helper.make_node("GlobalAveragePool", ["mixed"], ["level"], "level of a normalisation"),
        helper.make_node("Sub", ["mixed", "level"], ["even"], "evening"),
        helper.make_node("Conv", ["even", "k"], ["seen"], "seeing"),
        helper.make_node("Relu", ["seen"], ["lit"], "lighting"),
        helper.make_node("GlobalAveragePool", ["lit"], ["y"], "mean behind a convolution"),
    ]
    proto = onnx.load_from_string(graph(nodes, weights, (["batch", 1, 16, 16], ["batch", 3, 1, 1])))
    assert chosen_nodes(proto) == ["mixing", "seeing", "lighting", "mean behind a convolution"]


def test_reduced_weights_keep_to_seven_bits() -> None:
    model, data = outliers(spread=0)
    made = Int8Static(types="u8s8", reduce_range=True).apply(model, data, Budget())
    assert all(np.abs(one.values.astype(int)).max() <= 64 for one in weights_of(onnx.load_from_string(made.content)))


def test_an_old_opset_is_raised_before_weights_get_a_scale_for_each_channel() -> None:
    model, data = outliers(spread=0, opset=11)
    made = onnx.load_from_string(Int8Static().apply(model, data, Budget()).content)
    onnx.checker.check_model(made, full_check=True)
    assert next(entry.version for entry in made.opset_import if entry.domain == "") >= 13


def test_products_of_two_activations_and_sums_after_products_stay_in_float() -> None:
    model, data = products()
    made = onnx.load_from_string(Int8Static().apply(model, data, Budget()).content)
    opened = {name for node in made.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    [added] = [node for node in made.graph.node if node.op_type == "Add"]
    assert not opened & {*added.input}


def test_calibration_of_one_class_is_refused_where_there_are_others() -> None:
    model, data = outliers(spread=0)
    labels = data.calibration.labels
    assert labels is not None
    one = data.calibration.at(np.flatnonzero(labels == labels[0]))
    with pytest.raises(DataError, match="draw them from all classes"):
        Int8Static().apply(model, Data(one, data.test), Budget())


def test_a_single_sample_is_no_calibration() -> None:
    model, data = outliers(spread=0)
    with pytest.raises(DataError, match="1 calibration sample"):
        Int8Static().apply(model, Data(data.calibration.first(1), data.test), Budget())


def test_a_model_without_layers_is_refused_with_its_operators() -> None:
    content = graph([onnx.helper.make_node("Erf", ["x"], ["y"])], {}, (["n", 3], ["n", 3]))
    model = Model("onnx", content, (spec("x", -1, 3),), (spec("y", -1, 3),))
    samples = Samples({"x": np.ones((8, 3), np.float32)})
    with pytest.raises(TechniqueError, match="Erf"):
        Int8Static().apply(model, Data(samples, samples), Budget())


def test_an_operator_that_the_runtime_lacks_is_named() -> None:
    node = onnx.helper.make_node("Wobble", ["x"], ["y"], domain="ai.example")
    proto = onnx.load_from_string(graph([node], {}, (["n", 3], ["n", 3])))
    proto.opset_import.append(onnx.helper.make_opsetid("ai.example", 1))
    model = Model("onnx", proto.SerializeToString(), (spec("x", -1, 3),), (spec("y", -1, 3),))
    samples = Samples({"x": np.ones((8, 3), np.float32)})
    with pytest.raises(SourceError, match="Wobble"):
        Int8Static().apply(model, Data(samples, samples), Budget())


def test_samples_that_make_infinity_inside_are_refused() -> None:
    model, data = outliers(spread=0)
    huge = Samples({"x": np.full((8, 1, 8, 8), 3e38, np.float32)})
    with pytest.raises(SourceError, match="not finite"):
        Int8Static().apply(model, Data(huge, data.test), Budget())


def test_unsigned_weights_take_no_reduced_range() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        Int8Static(types="u8u8", reduce_range=True)


def test_equal_scales_and_zero_points_are_kept_once_and_are_no_weight() -> None:
    model, data = outliers(spread=0)
    made = onnx.load_from_string(Int8Static().apply(model, data, Budget()).content)
    quantizers = [node for node in made.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    shared = {name for node in quantizers for name in node.input[1:]}
    held = [one for one in made.graph.initializer if one.name in shared]
    contents = [(one.data_type, *one.dims, numpy_helper.to_array(one).tobytes()) for one in held]
    assert len(contents) == len(set(contents))
    assert not shared & {node.input[0] for node in quantizers}
