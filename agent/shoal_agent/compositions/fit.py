"""Whether models can be served as one, and what that one takes and answers. Pure.

Tensors of a composition are called as its first member calls them, or as its declaration renames them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shoal_agent.compositions.errors import CompositionError
from shoal_agent.engines import NUMPY_TYPES
from shoal_agent.engines.specs import is_compatible
from shoal_agent.serving import ServedModel
from shoal_contract.compositions import DesiredComposition, Ensemble, Member, Stage
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import ClassesOutput, Output

Tensors = dict[str, TensorSpec]


class Bound(NamedTuple):
    """A model, and how its tensors are called in the composition: its own names by those of the composition."""

    served: ServedModel
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Fitted(NamedTuple):
    """What a composition takes and answers, and of whom.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs: the one that is combined, or all of a cascade's first model.
        output: The output that is combined, or that has a cascade's probabilities.
        members: Those that it asks, in order.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    output: str
    members: tuple[Bound, ...]


def fit(wanted: DesiredComposition, members: Sequence[ServedModel]) -> Fitted:
    """See that models fit each other, and the way in which they are composed.

    Args:
        wanted: The declaration.
        members: What is served of the models that it names, in order.

    Raises:
        CompositionError: They do not.
    """
    sides = [_side(part, served) for part, served in zip(wanted.parts, members, strict=True)]
    first_inputs, first_outputs = sides[0]
    output = wanted.form.output if wanted.form.output is not None else next(iter(first_outputs))
    names = [output] if isinstance(wanted.form, Ensemble) else list(first_outputs)
    for served, (inputs, outputs) in zip(members, sides, strict=True):
        if set(inputs) != set(first_inputs):
            raise _misfit(served, f"takes {', '.join(inputs)}, expected {', '.join(first_inputs)}")
        if missing := [name for name in (*names, output) if name not in outputs]:
            raise _misfit(served, f"answers {', '.join(outputs)}, expected {missing[0]}")
    is_vote = isinstance(wanted.form, Ensemble) and wanted.form.combine == "vote"
    taken = tuple(_merged(members, [inputs[name] for inputs, _ in sides], "input") for name in first_inputs)
    given = tuple(
        _merged(members, [outputs[name] for _, outputs in sides], "output", is_free=is_vote) for name in names
    )
    _check_form(wanted, given[names.index(output)], taken)
    _check_meaning(wanted, members)
    if is_vote:
        given = (given[0].model_copy(update={"datatype": "FP32"}),)
    bound = [_bound(part, served) for part, served in zip(wanted.parts, members, strict=True)]
    return Fitted(taken, given, output, tuple(bound))


def composed_manifest(name: str, wanted: DesiredComposition, fitted: Fitted) -> VersionManifest:
    """Return what stands for a composition's manifest: that of its first member, with what differs.

    Its variants and golden input are the first member's own: nothing loads a composition by it.
    """
    first, part = fitted.members[0].served.manifest, wanted.parts[0]
    processing = first.processing
    if processing is not None:
        inputs = {called: processing.inputs[own] for called, own in _renames(part.inputs, processing.inputs).items()}
        given = {spec.name for spec in fitted.outputs}
        renamed = _renames(part.outputs, processing.outputs).items()
        outputs = {called: processing.outputs[own] for called, own in renamed if called in given}
        if isinstance(wanted.form, Ensemble) and wanted.form.combine == "vote":
            outputs = {called: _of_shares(meant) for called, meant in outputs.items()}
        processing = processing.model_copy(update={"inputs": inputs, "outputs": outputs})
    return first.model_copy(
        update={
            "model": name,
            "version": wanted.version,
            "inputs": fitted.inputs,
            "outputs": fitted.outputs,
            "processing": processing,
        }
    )


def _side(part: Member | Stage, served: ServedModel) -> tuple[Tensors, Tensors]:
    """Return a member's inputs and outputs by the composition's names."""
    found = []
    for role, renamed, specs in (
        ("input", part.inputs, served.engine.inputs),
        ("output", part.outputs, served.engine.outputs),
    ):
        own = {spec.name: spec for spec in specs}
        if unknown := [name for name in renamed.values() if name not in own]:
            raise _misfit(served, f"has no {role} {unknown[0]!r}, only {', '.join(own)}")
        called = _renames(renamed, own)
        if len(called) != len(own):
            raise _misfit(served, f"has two {role}s that would have one name")
        found.append({name: own[its].model_copy(update={"name": name}) for name, its in called.items()})
    return found[0], found[1]


def _bound(part: Member | Stage, served: ServedModel) -> Bound:
    inputs = _renames(part.inputs, [spec.name for spec in served.engine.inputs])
    return Bound(served, inputs, _renames(part.outputs, [spec.name for spec in served.engine.outputs]))


def _renames(renamed: Mapping[str, str], own: Mapping[str, object] | Sequence[str]) -> dict[str, str]:
    """Return a member's names by the composition's, in the member's order."""
    called = {its: name for name, its in renamed.items()}
    return {called.get(its, its): its for its in own}


def _merged(
    members: Sequence[ServedModel], specs: Sequence[TensorSpec], role: str, *, is_free: bool = False
) -> TensorSpec:
    """Return the tensor that fits all: where one has a size of its own, all have it; `is_free`: of any datatype."""
    merged = specs[0]
    for served, spec in zip(members, specs, strict=True):
        is_same = spec.datatype == merged.datatype or is_free
        if not is_same or not is_compatible(spec.shape, merged.shape):
            found = f"{spec.datatype} {list(spec.shape)}"
            expected = f"{merged.datatype} {list(merged.shape)} of {members[0].name}"
            raise _misfit(served, f"has the {role} {spec.name!r} as {found}, expected {expected}")
        shape = tuple(max(sizes) for sizes in zip(spec.shape, merged.shape, strict=True))  # -1 gives way to any size
        merged = merged.model_copy(update={"shape": shape})
    return merged


def _check_form(wanted: DesiredComposition, output: TensorSpec, inputs: Sequence[TensorSpec]) -> None:
    """See that an output can be combined, or tells how sure its model is.

    Raises:
        CompositionError: It can not.
    """
    form = wanted.form
    found = f"the output {output.name!r} is {output.datatype} {list(output.shape)}"
    kind = NUMPY_TYPES[output.datatype].kind
    if kind not in ("fiu" if isinstance(form, Ensemble) and form.combine == "vote" else "f"):
        raise CompositionError(f"composing {', '.join(wanted.models)}: {found}, expected numbers of floating point")
    has_classes = len(output.shape) > 1 and output.shape[-1] not in {0, 1}
    if isinstance(form, Ensemble):
        if form.combine == "vote" and not has_classes:
            raise CompositionError(f"voting of {', '.join(wanted.models)}: {found}, expected scores of classes")
        return
    if not has_classes or len(output.shape) != 2:  # noqa: PLR2004 - samples and classes
        raise CompositionError(f"a cascade of {', '.join(wanted.models)}: {found}, expected [samples, classes]")
    for spec in (*inputs, output):
        if spec.shape[:1] not in {(-1,), (1,)}:
            message = f"a cascade of {', '.join(wanted.models)}: {spec.name!r} has the shape {list(spec.shape)}"
            raise CompositionError(f"{message}, expected samples in the first dimension, any number of them or one")


def _check_meaning(wanted: DesiredComposition, members: Sequence[ServedModel]) -> None:
    """See that labels and what is made of images and rows are the same for all.

    Raises:
        CompositionError: They are not: tensors would fit, and what they say would not.
    """
    first = members[0]
    made = [_made(part, served.manifest) for part, served in zip(wanted.parts, members, strict=True)]
    for served, inputs in zip(members, made, strict=True):
        labels = served.manifest.labels
        if labels and first.manifest.labels and labels != first.manifest.labels:
            raise _misfit(served, f"has other labels, or in another order, than {first.name}")
        if inputs != made[0]:
            raise _misfit(served, f"declares its inputs to be made in another way than {first.name}")


def _made(part: Member | Stage, manifest: VersionManifest) -> dict[str, object]:
    inputs = manifest.processing.inputs if manifest.processing is not None else {}
    return {name: inputs[own] for name, own in _renames(part.inputs, inputs).items()}


def _of_shares(meant: Output) -> Output:
    """Return what an output means once it holds shares of votes: they are probabilities already."""
    return meant.model_copy(update={"activation": "none"}) if isinstance(meant, ClassesOutput) else meant


def _misfit(served: ServedModel, found: str) -> CompositionError:
    return CompositionError(f"composing models: {served.name} version {served.version} {found}")
