"""A student learns from teachers, and from tensors inside of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.compression.networks import network
from tests.compression.zoo import Case

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.errors import DataError, TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.distil.distil import Distil, Hint
from shoal_compression.techniques.prune.channels import PruneChannels
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.settings import Training

TWICE = Training(epochs=2)


def _student(case: Case) -> Model:
    return PruneChannels(training=Training(epochs=0)).apply(case.model, case.data, Budget())


def _near(case: Case, model: Model) -> float:
    wanted, found = (outputs_of(one, case.data.test)["y"] for one in (case.model, model))
    return sqnr_db(wanted, found)


def test_it_says_more_like_its_teacher() -> None:
    case = network("residual")
    student = _student(case)
    assert _near(case, Distil(training=TWICE).apply(student, case.data, Budget())) > _near(case, student) + 3


def test_several_teachers_count_alike() -> None:
    case, other = network("residual"), network("gated").model
    student = _student(case)
    both = replace(case.data, teachers=(case.model, other))
    made = [Distil(training=TWICE).apply(student, data, Budget()) for data in (case.data, both)]
    wanted = outputs_of(other, case.data.test)["y"]
    alone, beside = (np.abs(_probabilities(case, one) - wanted).mean() for one in made)
    assert beside < alone


def _probabilities(case: Case, model: Model) -> np.ndarray[Any, Any]:
    scores = np.exp(outputs_of(model, case.data.test)["y"])
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def test_a_hint_draws_a_tensor_towards_the_teachers() -> None:
    case = network("residual")
    student = _student(case)
    tap = next(node.output[0] for node in Network(student).proto.graph.node if node.op_type == "HardSwish")
    training = Training(epochs=3, learning_rate=2e-3)
    hinted = Distil(hints=(Hint(student=tap, teacher=tap, weight=20.0),), training=training)
    made = hinted.apply(student, case.data, Budget())
    plain = Distil(training=training).apply(student, case.data, Budget())
    assert made.sha256 != plain.sha256
    assert _unlike(case, made, tap) < _unlike(case, plain, tap)


def _unlike(case: Case, model: Model, tap: str) -> float:
    """Return what of the teacher's tensor can not be had as a product of the student's channels (least squares)."""
    import torch

    x = {"x": torch.from_numpy(case.data.test.inputs["x"])}
    one, other = (Network(each)(x, [tap])[tap].detach().numpy().transpose(0, 2, 3, 1) for each in (model, case.model))
    seen, wanted = one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1])
    left = wanted - seen @ np.linalg.lstsq(seen, wanted, rcond=None)[0]
    return float((left**2).mean() / wanted.var())


def test_a_hint_that_no_graph_has_is_told() -> None:
    case = network("residual")
    with pytest.raises(TechniqueError, match="nowhere"):
        Distil(hints=(Hint(student="nowhere", teacher="y"),)).apply(case.model, case.data, Budget())


def test_without_a_teacher_the_next_step_is_told() -> None:
    case = network("residual")
    with pytest.raises(DataError, match="give `teachers` with the data"):
        Distil().apply(case.model, replace(case.data, teachers=()), Budget())
