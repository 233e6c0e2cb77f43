"""Training stops in time, keeps what is best, repeats by its seed, and learns from whom it is told to."""

from dataclasses import replace

import numpy as np
import pytest
from tests.compression.networks import network

from shoal_compression.budget import Budget
from shoal_compression.comparing import accuracy, agreement
from shoal_compression.data import Samples
from shoal_compression.errors import DataError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import silent
from shoal_compression.techniques.prune.channels import PruneChannels
from shoal_compression.trainable.head import are_probabilities, logits_of
from shoal_compression.trainable.retraining import retrained
from shoal_compression.trainable.settings import Training

CASE = "residual"


class Clock:
    """A clock that moves on by a second whenever somebody looks at it."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        self.s += 1.0
        return self.s


def _damaged() -> Model:
    case = network(CASE)
    return PruneChannels(training=Training(epochs=0)).apply(case.model, case.data, Budget())


def _right(model: Model) -> float:
    test = network(CASE).data.test
    assert test.labels is not None
    return accuracy(outputs_of(model, test)["y"], test.labels)


def test_training_ends_with_the_budget_and_keeps_the_best_so_far() -> None:
    case, told = network(CASE), []
    damaged = _damaged()
    stopped = retrained(
        damaged,
        (case.model,),
        case.data,
        Training(epochs=900),
        Budget(seconds=60, clock=Clock()),
        lambda stage, done, total: told.append((stage, done, total)),
        "training",
    )
    assert len(told) <= 5
    assert told[-1] == ("training", 900, 900)
    assert _right(stopped) >= _right(damaged)


def test_without_time_the_model_is_left_as_it_was() -> None:
    case, damaged = network(CASE), _damaged()
    left = retrained(damaged, (case.model,), case.data, Training(), Budget(seconds=0), silent, "training")
    assert np.array_equal(outputs_of(left, case.data.test)["y"], outputs_of(damaged, case.data.test)["y"])


def test_a_rate_that_ruins_the_network_leaves_the_state_before() -> None:
    case = network(CASE)
    ruined = Training(epochs=1, learning_rate=1.0)
    assert _right(retrained(case.model, (case.model,), case.data, ruined, Budget(), silent, "training")) > 0.9


def test_a_teacher_is_enough_without_labels_or_training_samples() -> None:
    case, damaged = network(CASE), _damaged()
    bare = Samples(case.data.train.inputs) if case.data.train else case.data.calibration
    data = replace(case.data, train=None, calibration=bare)
    taught = retrained(damaged, (case.model,), data, Training(epochs=2), Budget(), silent, "training")
    answers = [outputs_of(one, case.data.test)["y"] for one in (case.model, damaged, taught)]
    assert agreement(answers[0], answers[2]) > agreement(answers[0], answers[1])


def test_nothing_to_learn_from_is_told() -> None:
    case = network(CASE)
    data = replace(case.data, train=Samples(case.data.calibration.inputs))
    with pytest.raises(DataError, match="neither labels nor a teacher"):
        retrained(case.model, (), data, Training(epochs=1), Budget(), silent, "training")


def test_labels_that_are_no_class_of_the_network_are_told() -> None:
    case = network(CASE)
    labels = np.full(len(case.data.calibration), 7)
    data = replace(case.data, train=Samples(case.data.calibration.inputs, labels))
    with pytest.raises(DataError, match="labels 7 to 7 found, expected 0 to 3"):
        retrained(case.model, (), data, Training(epochs=1), Budget(), silent, "training")


def test_a_teacher_of_another_task_is_told() -> None:
    case = network(CASE)
    other = replace(case.model, outputs=case.model.outputs)
    two = network("gated").model
    assert other.sha256 != two.sha256
    broken = replace(two, inputs=two.inputs, content=_with_three_classes(two))
    with pytest.raises(DataError, match="teachers of the same task"):
        retrained(case.model, (broken,), case.data, Training(epochs=1), Budget(), silent, "training")


def _with_three_classes(model: Model) -> bytes:
    """Return a graph that answers with three of the four scores."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_from_string(model.content)
    for node in proto.graph.node:
        node.output[:] = ["four" if name == "y" else name for name in node.output]
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(3), "three"))
    proto.graph.node.append(helper.make_node("Gather", ["four", "three"], ["y"], axis=1))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3]))
    return proto.SerializeToString()


def test_probabilities_become_logits_that_give_them_back() -> None:
    answers = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]], np.float32)
    assert are_probabilities(answers)
    scores = np.exp(logits_of(answers, "classes"))
    np.testing.assert_allclose(scores / scores.sum(axis=1, keepdims=True), answers, atol=1e-6)
    assert not are_probabilities(np.array([[2.0, -1.0]]))
