"""Channels are taken away with all that depends on them."""

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.compression.networks import KINDS, network
from tests.compression.techniques.quantize.nets import graph
from tests.compression.zoo import Case, spec

from shoal_compression.budget import Budget
from shoal_compression.channels.groups import Channels, channels_of
from shoal_compression.channels.operations import operations
from shoal_compression.channels.row_counts import check_rows
from shoal_compression.comparing import accuracy
from shoal_compression.data import Data, Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import load, outputs_of
from shoal_compression.techniques.prune.channels import PruneChannels
from shoal_compression.trainable.graph import attributes_of, weights_of, with_weights
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.settings import Training

UNTRAINED = Training(epochs=0)


def _channels(case: Case, model: Model | None = None) -> Channels:
    return channels_of(Network(model or case.model), model or case.model, case.data.calibration)


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights_of(onnx.load_from_string(model.content)).items()}


def test_half_of_the_channels_go_through_sums_joins_and_flat_layers() -> None:
    case = network("residual")
    shapes = _shapes(PruneChannels(training=UNTRAINED).apply(case.model, case.data, Budget()))
    assert shapes["begin.0.weight"] == (8, 1, 3, 3)
    assert shapes["inner.2.weight"] == (8, 8, 3, 3)  # added to what begins
    assert shapes["depthwise.0.weight"] == (8, 1, 3, 3)
    assert shapes["side.0.weight"] == (4, 8, 1, 1)
    assert shapes["hidden.weight"] == (16, (8 + 4) * 36)  # both joined, and made flat
    assert shapes["out.weight"] == (4, 16)


@pytest.mark.parametrize("kind", ["residual", "gated"])
def test_channels_that_are_zero_go_without_a_trace(kind: str) -> None:
    case = network(kind)
    weights, channels = weights_of(Network(case.model).proto), _channels(case)
    zero = [int(one) for group in channels.groups for one in group.channels[: len(group.channels) // 2]]
    for name, axes in channels.weights.items():
        gone = np.ix_(*[~np.isin(labels, zero) for labels in axes])
        kept = np.zeros_like(weights[name])
        kept[gone] = weights[name][gone]
        weights[name] = kept
    emptied = case.model.with_content(with_weights(channels.proto, weights).SerializeToString())
    technique = PruneChannels(importance="l1", multiple_of=1, training=UNTRAINED)
    made = technique.apply(emptied, case.data, Budget())
    assert made.size_bytes < 0.6 * case.model.size_bytes
    wanted, found = (outputs_of(one, case.data.test)["y"] for one in (emptied, made))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor"])
def test_at_most_so_many_operations_are_left(importance: str) -> None:
    case = network("residual")
    technique = PruneChannels.model_validate(
        {"operations": 0.4, "importance": importance, "scope": "network", "multiple_of": 2, "training": UNTRAINED}
    )
    made = technique.apply(case.model, case.data, Budget())
    share = operations(_channels(case, made)) / operations(_channels(case))
    assert 0.25 < share <= 0.4


def test_what_was_lost_is_learnt_again() -> None:
    case = network("residual")
    labels = case.data.test.labels
    assert labels is not None
    scores = [
        accuracy(outputs_of(one, case.data.test)["y"], labels)
        for one in (
            case.model,
            PruneChannels(training=UNTRAINED).apply(case.model, case.data, Budget()),
            PruneChannels(training=Training(epochs=3)).apply(case.model, case.data, Budget()),
        )
    ]
    assert scores[1] < scores[0] - 0.02
    assert scores[2] > scores[0] - 0.02


def test_several_steps_come_to_as_many_channels() -> None:
    case = network("gated")
    technique = PruneChannels(steps=2, multiple_of=1, training=Training(epochs=1))
    shapes = _shapes(technique.apply(case.model, case.data, Budget()))
    assert shapes["begin.0.weight"][0] in {7, 8, 9}


def test_a_transformer_loses_hidden_features_alone() -> None:
    case = network("attending")
    made = PruneChannels(training=UNTRAINED).apply(case.model, case.data, Budget())
    before, after = _shapes(case.model), _shapes(made)
    changed = {before[name]: after[name] for name in after if name in before and before[name] != after[name]}
    assert changed == {(16, 64): (16, 32), (64, 16): (32, 16), (64,): (32,)}


@pytest.mark.parametrize("kind", KINDS)
def test_channels_stay_in_multiples_and_depthwise_groups_follow(kind: str) -> None:
    case = network(kind)
    technique = PruneChannels(ratio=0.3, multiple_of=4, training=UNTRAINED)
    made = technique.apply(case.model, case.data, Budget())
    shapes = _shapes(made)
    for node in onnx.load_from_string(made.content).graph.node:
        if node.op_type == "Conv":
            assert shapes[node.input[1]][0] % 4 == 0
            assert attributes_of(node).get("group", 1) in {1, shapes[node.input[1]][0]}


def test_more_than_can_go_is_refused() -> None:
    case = network("attending")
    with pytest.raises(TechniqueError, match="of its operations stay at least, 0.1 asked for"):
        PruneChannels(operations=0.1, training=UNTRAINED).apply(case.model, case.data, Budget())


def test_a_batch_that_is_no_first_axis_stays_open() -> None:
    random, width = np.random.default_rng(0), 16
    weights = {
        "w1": random.normal(0, 0.3, (8, width)).astype(np.float32),
        "w2": random.normal(0, 0.3, (width, 3)).astype(np.float32),
        "shape": np.array([4, -1, width], np.int64),
        "axis": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Unsqueeze", ["r", "axis"], ["u"]),
        helper.make_node("Reshape", ["u", "shape"], ["v"]),
        helper.make_node("ReduceMean", ["v"], ["p"], axes=[0], keepdims=0),
        helper.make_node("MatMul", ["p", "w2"], ["y"]),
    ]
    model = Model("onnx", graph(nodes, weights, (["n", 4, 8], ["n", 3])), (spec("x", -1, 4, 8),), (spec("y", -1, 3),))
    samples = Samples({"x": random.normal(size=(7, 4, 8)).astype(np.float32)})
    technique = PruneChannels(importance="l1", multiple_of=1, training=UNTRAINED)
    made = technique.apply(model, Data(samples, samples, samples), Budget())
    assert made.size_bytes < model.size_bytes
    run = load(made)
    assert [run({"x": samples.inputs["x"][:rows]})["y"].shape for rows in (1, 2, 3)] == [(1, 3), (2, 3), (3, 3)]


def test_a_graph_that_answers_other_numbers_of_samples_is_refused() -> None:
    fixed, opened = (_flat(rows) for rows in (2, -1))
    samples = Samples({"x": np.zeros((2, 2, 2), np.float32)})
    check_rows(opened, opened, samples)
    with pytest.raises(TechniqueError, match=r"answered to 1 samples, y \[1, 4\] expected; leave this step out"):
        check_rows(fixed, opened, samples)


def _flat(rows: int) -> Model:
    """Return a model that makes samples flat, of which it takes any number (-1) or so many."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    content = graph([node], {"shape": np.array([rows, 4], np.int64)}, (["n", 2, 2], ["n", 4]))
    return Model("onnx", content, (spec("x", -1, 2, 2),), (spec("y", -1, 4),))
