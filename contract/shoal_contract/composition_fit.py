"""Whether models can be served as one, by what is known of their versions, and what that one takes and answers. Pure.

The hub looks before it tells a device, and the device by what it really serves. Tensors of a composition are called as
its first member calls them, or as its declaration renames them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from shoal_contract.compositions import DesiredComposition, Ensemble, Member, Stage
from shoal_contract.errors import CompositionFitError
from shoal_contract.manifest import TensorSpec, is_compatible
from shoal_contract.processing import Processing

Tensors = dict[str, TensorSpec]


class Signature(NamedTuple):
    """What is known of a member's version: its tensors, its labels, and how inputs are made and outputs are meant."""

    model: str
    version: int
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    labels: Sequence[str]
    processing: Processing | None


class Fit(NamedTuple):
    """What a composition takes and answers.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs: the one that is combined, or all of a cascade's first model.
        output: The output that is combined, or that has a cascade's probabilities.
        bound: For each member its own names of inputs, and of outputs, by those of the composition.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    output: str
    bound: tuple[tuple[Mapping[str, str], Mapping[str, str]], ...]


def fit_signatures(wanted: DesiredComposition, members: Sequence[Signature]) -> Fit:
    """See that versions fit each other, and the way in which they are composed.

    Args:
        wanted: The declaration.
        members: The versions of the models that it names, in order.

    Raises:
        CompositionFitError: They do not.
    """
    sides = [_side(part, member) for part, member in zip(wanted.parts, members, strict=True)]
    first_inputs, first_outputs = sides[0]
    output = wanted.form.output if wanted.form.output is not None else next(iter(first_outputs))
    names = [output] if isinstance(wanted.form, Ensemble) else list(first_outputs)
    for member, (inputs, outputs) in zip(members, sides, strict=True):
        if set(inputs) != set(first_inputs):
            raise _misfit(member, f"takes {', '.join(inputs)}, expected {', '.join(first_inputs)}")
        if missing := [name for name in (*names, output) if name not in outputs]:
            raise _misfit(member, f"answers {', '.join(outputs)}, expected {missing[0]}")
    is_vote = isinstance(wanted.form, Ensemble) and wanted.form.combine == "vote"
    taken = tuple(_merged(members, [inputs[name] for inputs, _ in sides], "input") for name in first_inputs)
    given = tuple(
        _merged(members, [outputs[name] for _, outputs in sides], "output", is_free=is_vote) for name in names
    )
    _check_form(wanted, given[names.index(output)], taken)
    _check_meaning(wanted, members)
    if is_vote:
        given = (given[0].model_copy(update={"datatype": "FP32"}),)
    bound = tuple(_bound(part, member) for part, member in zip(wanted.parts, members, strict=True))
    return Fit(taken, given, output, bound)


def own_names(renamed: Mapping[str, str], own: Iterable[str]) -> dict[str, str]:
    """Return a member's names by the composition's, in the member's order."""
    names = {its: name for name, its in renamed.items()}
    return {names.get(its, its): its for its in own}


def _side(part: Member | Stage, member: Signature) -> tuple[Tensors, Tensors]:
    """Return a member's inputs and outputs by the composition's names."""
    found = []
    for role, renamed, specs in (
        ("input", part.inputs, member.inputs),
        ("output", part.outputs, member.outputs),
    ):
        own = {spec.name: spec for spec in specs}
        if unknown := [name for name in renamed.values() if name not in own]:
            raise _misfit(member, f"has no {role} {unknown[0]!r}, only {', '.join(own)}")
        names = own_names(renamed, own)
        if len(names) != len(own):
            raise _misfit(member, f"has two {role}s that would have one name")
        found.append({name: own[its].model_copy(update={"name": name}) for name, its in names.items()})
    return found[0], found[1]


def _bound(part: Member | Stage, member: Signature) -> tuple[dict[str, str], dict[str, str]]:
    inputs = own_names(part.inputs, [spec.name for spec in member.inputs])
    return inputs, own_names(part.outputs, [spec.name for spec in member.outputs])


def _merged(
    members: Sequence[Signature], specs: Sequence[TensorSpec], role: str, *, is_free: bool = False
) -> TensorSpec:
    """Return the tensor that fits all: where one has a size of its own, all have it; `is_free`: of any datatype."""
    merged = specs[0]
    for member, spec in zip(members, specs, strict=True):
        is_same = spec.datatype == merged.datatype or is_free
        if not is_same or not is_compatible(spec.shape, merged.shape):
            found = f"{spec.datatype} {list(spec.shape)}"
            expected = f"{merged.datatype} {list(merged.shape)} of {members[0].model}"
            raise _misfit(member, f"has the {role} {spec.name!r} as {found}, expected {expected}")
        shape = tuple(max(sizes) for sizes in zip(spec.shape, merged.shape, strict=True))  # -1 gives way to any size
        merged = merged.model_copy(update={"shape": shape})
    return merged


def _check_form(wanted: DesiredComposition, output: TensorSpec, inputs: Sequence[TensorSpec]) -> None:
    """See that an output can be combined, or tells how sure its model is.

    Raises:
        CompositionFitError: It can not.
    """
    form = wanted.form
    found = f"the output {output.name!r} is {output.datatype} {list(output.shape)}"
    is_vote = isinstance(form, Ensemble) and form.combine == "vote"
    if not output.datatype.startswith(("FP", "INT", "UINT") if is_vote else "FP"):
        raise CompositionFitError(f"composing {', '.join(wanted.models)}: {found}, expected numbers of floating point")
    has_classes = len(output.shape) > 1 and output.shape[-1] not in {0, 1}
    if isinstance(form, Ensemble):
        if is_vote and not has_classes:
            raise CompositionFitError(f"voting of {', '.join(wanted.models)}: {found}, expected scores of classes")
        return
    if not has_classes or len(output.shape) != 2:  # noqa: PLR2004 - samples and classes
        raise CompositionFitError(f"a cascade of {', '.join(wanted.models)}: {found}, expected [samples, classes]")
    for spec in (*inputs, output):
        if spec.shape[:1] not in {(-1,), (1,)}:
            message = f"a cascade of {', '.join(wanted.models)}: {spec.name!r} has the shape {list(spec.shape)}"
            raise CompositionFitError(f"{message}, expected samples in the first dimension, any number of them or one")


def _check_meaning(wanted: DesiredComposition, members: Sequence[Signature]) -> None:
    """See that labels and what is made of images and rows are the same for all.

    Raises:
        CompositionFitError: They are not: tensors would fit, and what they say would not.
    """
    first = members[0]
    made = [_made(part, member) for part, member in zip(wanted.parts, members, strict=True)]
    for member, inputs in zip(members, made, strict=True):
        if member.labels and first.labels and tuple(member.labels) != tuple(first.labels):
            raise _misfit(member, f"has other labels, or in another order, than {first.model}")
        if inputs != made[0]:
            raise _misfit(member, f"declares its inputs to be made in another way than {first.model}")


def _made(part: Member | Stage, member: Signature) -> dict[str, object]:
    inputs = member.processing.inputs if member.processing is not None else {}
    return {name: inputs[own] for name, own in own_names(part.inputs, inputs).items()}


def _misfit(member: Signature, found: str) -> CompositionFitError:
    return CompositionFitError(f"composing models: {member.model} version {member.version} {found}")
