"""Models that do not fit each other are told apart, by words that say which and how."""

from collections.abc import Callable

import pytest
from tests.agent.compositions.conftest import Models, cascade, ensemble

from shoal_agent.compositions import CompositionError
from shoal_agent.compositions.fit import composed_manifest, fit
from shoal_agent.serving import ServedModel
from shoal_contract.compositions import Cascade, DesiredComposition, Ensemble, Member, Stage
from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import ClassesOutput, NumberFeature, Processing, TabularInput

IMAGE = TensorSpec(name="image", datatype="FP32", shape=(-1, 4))
SCORES = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 2))


class Shaped:
    """An engine of given tensors, which is not run."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs


@pytest.fixture
def shaped(models: Models) -> Callable[..., ServedModel]:
    def make(
        name: str,
        inputs: tuple[TensorSpec, ...] = (IMAGE,),
        outputs: tuple[TensorSpec, ...] = (SCORES,),
        **more: object,
    ) -> ServedModel:
        served = models.member(name, **more)
        served.engine.close()
        return ServedModel(
            name,
            1,
            served.target,
            served.manifest,
            served.manifest_sha256,
            Shaped(inputs, outputs),  # type: ignore[arg-type]
        )

    return make


def refusal(wanted: DesiredComposition, *members: ServedModel) -> str:
    with pytest.raises(CompositionError) as caught:
        fit(wanted, members)
    return str(caught.value)


def test_sizes_that_one_member_leaves_open_are_the_others(shaped: Callable[..., ServedModel]) -> None:
    open_one = IMAGE.model_copy(update={"shape": (-1, -1)})
    fitted = fit(ensemble("a", "b"), [shaped("a", (open_one,)), shaped("b")])
    assert (fitted.inputs, fitted.outputs, fitted.output) == ((IMAGE,), (SCORES,), "probabilities")


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((IMAGE.model_copy(update={"name": "x"}),), (SCORES,), "b version 1 takes x, expected image"),
        ((IMAGE.model_copy(update={"datatype": "FP64"}),), (SCORES,), "'image' as FP64 [-1, 4], expected FP32 [-1, 4]"),
        ((IMAGE.model_copy(update={"shape": (-1, 5)}),), (SCORES,), "FP32 [-1, 5], expected FP32 [-1, 4] of a"),
        ((IMAGE,), (SCORES.model_copy(update={"name": "y"}),), "b version 1 answers y, expected probabilities"),
        ((IMAGE,), (SCORES.model_copy(update={"shape": (-1, 3)}),), "FP32 [-1, 3], expected FP32 [-1, 2] of a"),
    ],
)
def test_members_with_other_tensors_do_not_fit(
    shaped: Callable[..., ServedModel], inputs: tuple[TensorSpec], outputs: tuple[TensorSpec], said: str
) -> None:
    for wanted in (ensemble("a", "b"), cascade(0.9, "a", "b")):
        assert said in refusal(wanted, shaped("a"), shaped("b", inputs, outputs))


def test_tensors_of_other_names_fit_where_the_declaration_renames_them(shaped: Callable[..., ServedModel]) -> None:
    other = shaped("b", (IMAGE.model_copy(update={"name": "x"}),), (SCORES.model_copy(update={"name": "y"}),))
    member = Member(model="b", inputs={"image": "x"}, outputs={"probabilities": "y"})
    wanted = DesiredComposition(form=Ensemble(members=(Member(model="a"), member)))
    fitted = fit(wanted, [shaped("a"), other])
    assert (fitted.inputs, fitted.members[1].inputs, fitted.members[1].outputs) == (
        (IMAGE,),
        {"image": "x"},
        {"probabilities": "y"},
    )
    wrong = DesiredComposition(form=Ensemble(members=(Member(model="a"), Member(model="b", inputs={"image": "z"}))))
    assert "b version 1 has no input 'z', only x" in refusal(wrong, shaped("a"), other)


def test_two_tensors_of_one_name_do_not_fit(shaped: Callable[..., ServedModel]) -> None:
    both = (IMAGE, IMAGE.model_copy(update={"name": "mask"}))
    stage = Stage(model="a", confidence=0.5, inputs={"image": "mask"})
    wanted = DesiredComposition(form=Cascade(stages=(stage, Stage(model="b"))))
    assert "two inputs that would have one name" in refusal(wanted, shaped("a", both), shaped("b", both))


def test_what_can_not_be_combined_is_told(shaped: Callable[..., ServedModel]) -> None:
    whole = SCORES.model_copy(update={"datatype": "INT64"})
    one = SCORES.model_copy(update={"shape": (-1, 1)})
    many = SCORES.model_copy(update={"shape": (8, 2)})

    def pair(output: TensorSpec) -> list[ServedModel]:
        return [shaped("a", (IMAGE,), (output,)), shaped("b", (IMAGE,), (output,))]

    assert "INT64 [-1, 2], expected numbers of floating point" in refusal(ensemble("a", "b"), *pair(whole))
    assert "FP32 [-1, 1], expected scores of classes" in refusal(ensemble("a", "b", combine="vote"), *pair(one))
    assert "FP32 [-1, 1], expected [samples, classes]" in refusal(cascade(0.9, "a", "b"), *pair(one))
    assert "any number of them or one" in refusal(cascade(0.9, "a", "b"), *pair(many))
    assert fit(ensemble("a", "b", combine="vote"), pair(whole)).outputs[0].datatype == "FP32"
    assert fit(ensemble("a", "b", combine="mean"), pair(one)).outputs == (one,)


def test_other_labels_or_inputs_made_in_another_way_do_not_fit(shaped: Callable[..., ServedModel]) -> None:
    assert "other labels" in refusal(ensemble("a", "b"), shaped("a"), shaped("b", labels=("yes", "no")))
    rows = [TabularInput(features=tuple(NumberFeature(name=f"{letter}{n}") for n in range(4))) for letter in "xy"]
    first, second = (
        shaped(name, processing=Processing(inputs={"image": row})) for name, row in zip("ab", rows, strict=True)
    )
    assert "made in another way than a" in refusal(ensemble("a", "b"), first, second)


def test_a_compositions_manifest_speaks_of_its_own_tensors(shaped: Callable[..., ServedModel]) -> None:
    processing = Processing(outputs={"probabilities": ClassesOutput(activation="softmax")})
    member = Member(model="a", inputs={"picture": "image"}, outputs={"said": "probabilities"})
    other = Member(model="b", inputs={"picture": "image"}, outputs={"said": "probabilities"})
    form = Ensemble(combine="vote", members=(member, other))
    wanted = DesiredComposition(version=3, form=form)
    fitted = fit(wanted, [shaped("a", processing=processing), shaped("b")])
    manifest = composed_manifest("both", wanted, fitted)
    assert (manifest.model, manifest.version, manifest.inputs[0].name) == ("both", 3, "picture")
    assert manifest.processing == Processing(outputs={"said": ClassesOutput(activation="none")})
