"""What holds of every technique, for each form of model that it takes."""

from pathlib import Path

import numpy as np
import pytest
from tests.compression.zoo import Case, digits, trees, with_weights

from shoal_compression.budget import Budget
from shoal_compression.comparing import accuracy
from shoal_compression.data import Data, Samples
from shoal_compression.errors import CompressionError
from shoal_compression.model import Form
from shoal_compression.running import scores_of
from shoal_compression.technique import Technique
from shoal_compression.techniques import ALL, BY_NAME, name_of
from shoal_compression.techniques.prune.magnitude import PruneMagnitude
from shoal_compression.techniques.trees.compact import TreeCompact

MOST_LOST = 0.03
"""Of the accuracy, on 97 held-out digits and more: techniques that lose more on so easy a task are broken."""

SHORT = {"epochs": 3, "learning_rate": 2e-3, "batch": 32}
LONGER = {"epochs": 10, "learning_rate": 3e-3, "batch": 32}
# PyTorch's programs are converted in another environment, which tests/compression/techniques/convert makes and uses.
FORMS = [(kind, form) for kind in ALL for form in sorted(kind.takes - {"torch"})]
SLOW = {"keras-cluster-weights", "keras-prune-2-4", "keras-prune-magnitude", "keras-qat"}
"""They train in tf_keras, which traces the network for seconds."""
each_form = pytest.mark.parametrize(
    ("technique", "form"),
    [
        pytest.param(
            kind, form, id=f"{name_of(kind)}-{form}", marks=[pytest.mark.slow] if name_of(kind) in SLOW else []
        )
        for kind, form in FORMS
    ],
)
each = pytest.mark.parametrize("technique", [pytest.param(kind, id=name_of(kind)) for kind in ALL])


@pytest.fixture
def case(bundle_dir: Path, technique: type[Technique], form: Form) -> Case:
    return trees() if technique is TreeCompact else digits(bundle_dir, form)


def _made(technique: type[Technique]) -> Technique:
    """Return a technique with its defaults, but for a training as short as its task on so small a network allows."""
    training = LONGER if technique is PruneMagnitude else SHORT
    fields: dict[str, object] = {"training": training} if "training" in technique.model_fields else {}
    if name_of(technique) == "keras-prune-magnitude":
        fields["sparsity"] = 0.5
    return technique.model_validate(fields)


@each_form
def test_it_keeps_the_task_and_how_the_model_is_called(technique: type[Technique], case: Case) -> None:
    before = case.model.sha256
    made = _made(technique).apply(case.model, case.data, Budget(seconds=120))
    assert (made.inputs, made.outputs) == (case.model.inputs, case.model.outputs)
    assert made.form == (technique.gives or case.model.form)
    assert case.model.sha256 == before
    labels = case.data.test.labels
    assert labels is not None
    was, now = (accuracy(scores_of(one, case.data.test), labels) for one in (case.model, made))
    assert now >= was - MOST_LOST


@each_form
def test_the_same_seed_gives_the_same_file(technique: type[Technique], case: Case) -> None:
    first, second = (_made(technique).apply(case.model, case.data, Budget(seconds=120, seed=7)) for _ in range(2))
    assert first.sha256 == second.sha256


@each
def test_its_parameters_make_a_round_trip_through_json(technique: type[Technique]) -> None:
    made = _made(technique)
    assert BY_NAME[name_of(technique)].model_validate_json(made.model_dump_json()) == made


@each
def test_an_unknown_parameter_is_refused(technique: type[Technique]) -> None:
    with pytest.raises(ValueError, match="extra_forbidden|Extra inputs"):
        technique.model_validate({"technique": name_of(technique), "speed": "warp"})


@pytest.mark.parametrize(
    ("technique", "form"), [pytest.param(kind, form, id=name_of(kind)) for kind, form in FORMS if form == "onnx"]
)
def test_a_weight_that_is_not_a_number_is_named(technique: type[Technique], case: Case) -> None:
    broken = with_weights(case.model, float("nan"))
    with pytest.raises(CompressionError, match="nan"):
        _made(technique).apply(broken, case.data, Budget(seconds=120))


@each_form
def test_samples_of_another_shape_are_refused(technique: type[Technique], case: Case) -> None:
    name = case.model.inputs[0].name
    wrong = Samples({name: np.zeros((8, 3, 3, 1), np.float32)})
    with pytest.raises(CompressionError, match="shape"):
        _made(technique).apply(case.model, Data(wrong, wrong, wrong), Budget(seconds=120))
