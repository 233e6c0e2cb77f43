"""Equalisation, bias correction, learned rounding and mixed precision, on channels whose scales differ much."""

import numpy as np
import onnx
import pytest
from tests.compression.techniques.quantize.nets import convolutions, outliers, products

from shoal_compression.budget import Budget
from shoal_compression.comparing import agreement, sqnr_db
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.quantize.adaround import AdaRound
from shoal_compression.techniques.quantize.bias_correct import BiasCorrect
from shoal_compression.techniques.quantize.biases import correct_biases
from shoal_compression.techniques.quantize.equalise import Equalise
from shoal_compression.techniques.quantize.mixed import Mixed
from shoal_compression.techniques.quantize.observing import values_of
from shoal_compression.techniques.quantize.qdq import weights_of, write_qdq
from shoal_compression.techniques.quantize.rounding import Steps, learn_rounding
from shoal_compression.techniques.quantize.sensitivity import sensitivities
from shoal_compression.techniques.quantize.static import Int8Static

pytestmark = pytest.mark.timeout(300)  # PyTorch alone takes long to import on a busy machine


def closeness(model: Model, made: Model) -> float:
    _, data = outliers()
    return sqnr_db(*(outputs_of(one, data.test)["y"] for one in (model, made)))


@pytest.mark.parametrize("ceiling", [False, True])
def test_equalisation_keeps_what_the_network_computes(ceiling: bool) -> None:
    model, data = outliers(ceiling=ceiling)
    assert closeness(model, Equalise().apply(model, data, Budget())) > 90


def test_equalisation_brings_back_what_differing_channels_cost() -> None:
    model, data = outliers()
    naive = closeness(model, Int8Static().apply(model, data, Budget()))
    equal = Int8Static().apply(Equalise().apply(model, data, Budget()), data, Budget())
    assert closeness(model, equal) > naive + 15


def test_equalised_channels_have_the_same_range_in_both_layers() -> None:
    model, data = outliers()
    proto = onnx.load_from_string(Equalise().apply(model, data, Budget()).content)
    held = {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    first, second = (np.abs(held[node.input[1]]).reshape(8, -1).max(axis=1) for node in convolutions)
    assert np.allclose(first, second, rtol=0.35)


def test_equalisation_says_so_where_no_two_layers_follow_each_other() -> None:
    model, data = products()
    with pytest.raises(TechniqueError, match="leave this step out"):
        Equalise().apply(model, data, Budget())


def test_corrected_biases_give_each_channel_its_mean_back() -> None:
    model, data = outliers(spread=1)
    technique = Int8Static(granularity="per-tensor")
    proto, samples, ranges = technique.prepare(model, data, Budget())
    made = write_qdq(proto, ranges, technique.scheme)
    last = next(node.output[0] for node in proto.graph.node if node.name == "last")
    wanted = values_of(proto, model, samples, last, 1).mean(axis=0)
    before = np.abs(values_of(made, model, samples, last, 1).mean(axis=0) - wanted).max()
    assert correct_biases(proto, made, model, samples, 1, lambda *_: None) == 3
    after = np.abs(values_of(made, model, samples, last, 1).mean(axis=0) - wanted).max()
    assert after < before / 3


def test_biases_that_are_zero_are_corrected_as_well() -> None:
    model, data = convolutions()
    proto, samples, ranges = Int8Static().prepare(model, data, Budget())
    made = write_qdq(proto, ranges, Int8Static().scheme)

    def shifts() -> np.ndarray:
        means = []
        for one in (proto, made):
            outputs = [node.output[0] for node in one.graph.node if node.op_type == "Conv"]
            means.append([values_of(one, model, samples, name, 1).mean(axis=(0, 2, 3)) for name in outputs])
        return np.abs(np.array(means[0]) - np.array(means[1])).mean(axis=1)

    before = shifts()
    correct_biases(proto, made, model, samples, 1, lambda *_: None)
    after = shifts()
    assert (after < before).all()
    assert after.max() < before.max() / 50
    plain, corrected = (one.apply(model, data, Budget()) for one in (Int8Static(), BiasCorrect()))
    reference, *found = (outputs_of(one, data.calibration)["y"] for one in (model, plain, corrected))
    assert sqnr_db(reference, found[1]) > sqnr_db(reference, found[0]) + 2


def test_bias_correction_never_takes_the_answers_further_away() -> None:
    model, data = outliers(spread=3)
    plain, corrected = (one.apply(model, data, Budget()) for one in (Int8Static(), BiasCorrect()))
    reference, *found = (outputs_of(one, data.calibration)["y"] for one in (model, plain, corrected))
    assert sqnr_db(reference, found[1]) >= sqnr_db(reference, found[0])


def test_learned_rounding_comes_closer_than_rounding_to_nearest_and_moves_no_weight_by_more_than_a_step() -> None:
    model, data = outliers(spread=0)
    technique = Int8Static(granularity="per-tensor")
    proto, samples, ranges = technique.prepare(model, data, Budget())
    made = write_qdq(proto, ranges, technique.scheme)
    before = [one.values.astype(int) for one in weights_of(made)]
    assert learn_rounding(proto, made, model, samples, Steps(200, 0.3), Budget(), lambda *_: None) >= 1
    moved = [np.abs(one.values.astype(int) - was).max() for one, was in zip(weights_of(made), before, strict=True)]
    assert max(moved) == 1


def test_learned_rounding_stops_when_the_time_is_up() -> None:
    model, data = outliers(spread=0)
    over = Budget(seconds=0)
    proto, samples, ranges = Int8Static().prepare(model, data, over)
    made = write_qdq(proto, ranges, Int8Static().scheme)
    assert learn_rounding(proto, made, model, samples, Steps(200, 0.3), over, lambda *_: None) == 0


def test_the_layers_whose_channels_differ_are_the_sensitive_ones() -> None:
    model, data = outliers()
    ranked = sensitivities(model, data, Budget())
    assert {one.layer for one in ranked} == {"first", "depthwise", "last"}
    assert ranked[-1].layer == "last"
    assert [one.sqnr_db for one in ranked] == sorted(one.sqnr_db for one in ranked)


def test_mixed_precision_leaves_as_few_layers_in_float_as_the_tolerance_asks_for() -> None:
    model, data = outliers()
    loose = Mixed(least_agreement=0, most_float=1).apply(model, data, Budget())
    strict = Mixed(least_agreement=0.98, most_float=1).apply(model, data, Budget())
    assert loose.precision == "int8"
    assert "float32" in strict.precision
    assert len(weights_of(onnx.load_from_string(strict.content))) < 3
    assert closeness(model, strict) > closeness(model, loose)


def test_a_share_that_may_be_luck_is_not_enough_where_it_has_to_be_sure() -> None:
    model, data = outliers()
    plain = Mixed(least_agreement=0, most_float=1).apply(model, data, Budget())
    _, samples, _ = Mixed().prepare(model, data, Budget())
    reached = agreement(*(outputs_of(one, samples)[model.outputs[0].name] for one in (model, plain)))
    assert 0 < reached < 1
    chosen = [
        Mixed(least_agreement=reached, confidence=sure, most_float=1).apply(model, data, Budget()).precision
        for sure in (None, 0.95)
    ]
    assert chosen[0] == "int8"
    assert "float32" in chosen[1]


def test_mixed_precision_names_the_layers_to_blame_where_the_tolerance_is_out_of_reach() -> None:
    model, data = outliers()
    with pytest.raises(TechniqueError, match=r"most sensitive are .*(first|depthwise)"):
        Mixed(least_sqnr_db=150, most_float=0.1).apply(model, data, Budget())


def test_adaround_works_on_matrix_products_too() -> None:
    model, data = products()
    made = AdaRound(steps=100).apply(model, data, Budget())
    assert sqnr_db(*(outputs_of(one, data.test)["y"] for one in (model, made))) > 30


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_learned_rounding_pads_as_the_graph_says(auto_pad: str) -> None:
    model, data = convolutions({"auto_pad": auto_pad}, stride=1 if auto_pad == "VALID" else 2)
    proto, samples, ranges = Int8Static().prepare(model, data, Budget())
    made = write_qdq(proto, ranges, Int8Static().scheme)
    assert learn_rounding(proto, made, model, samples, Steps(150, 0.3), Budget(), lambda *_: None) >= 1


def test_weights_that_two_layers_have_in_common_are_left_as_they_are() -> None:
    model, data = convolutions()
    proto = onnx.load_from_string(model.content)
    for node in proto.graph.node:
        node.input[:] = ["w1" if name == "w2" else "b1" if name == "b2" else name for name in node.input]
    tied = model.with_content(proto.SerializeToString())
    proto, samples, ranges = Int8Static().prepare(tied, data, Budget())
    made = write_qdq(proto, ranges, Int8Static().scheme)
    before = {one.node: one.values for one in weights_of(made)}
    learn_rounding(proto, made, tied, samples, Steps(60, 0.3), Budget(), lambda *_: None)
    after = {one.node: one.values for one in weights_of(made)}
    assert all(np.array_equal(before[name], after[name]) for name in ("conv1", "conv2"))
