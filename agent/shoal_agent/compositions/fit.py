"""Whether what is served of models can be served as one, and what stands for that one's manifest. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shoal_agent.compositions.errors import CompositionError
from shoal_agent.serving import ServedModel
from shoal_contract.composition_fit import Signature, fit_signatures, own_names
from shoal_contract.compositions import DesiredComposition, Ensemble
from shoal_contract.errors import CompositionFitError
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import ClassesOutput, Output


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
    try:
        found = fit_signatures(wanted, [_signature(served) for served in members])
    except CompositionFitError as error:
        raise CompositionError(str(error)) from error
    bound = tuple(Bound(served, *names) for served, names in zip(members, found.bound, strict=True))
    return Fitted(found.inputs, found.outputs, found.output, bound)


def composed_manifest(name: str, wanted: DesiredComposition, fitted: Fitted) -> VersionManifest:
    """Return what stands for a composition's manifest: that of its first member, with what differs.

    Its variants and golden input are the first member's own: nothing loads a composition by it.
    """
    first, part = fitted.members[0].served.manifest, wanted.parts[0]
    processing = first.processing
    if processing is not None:
        inputs = {called: processing.inputs[own] for called, own in own_names(part.inputs, processing.inputs).items()}
        given = {spec.name for spec in fitted.outputs}
        renamed = own_names(part.outputs, processing.outputs).items()
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


def _signature(served: ServedModel) -> Signature:
    """Return what is served of a member: the tensors are those of the file that was loaded."""
    manifest, engine = served.manifest, served.engine
    return Signature(served.name, served.version, engine.inputs, engine.outputs, manifest.labels, manifest.processing)


def _of_shares(meant: Output) -> Output:
    """Return what an output means once it holds shares of votes: they are probabilities already."""
    return meant.model_copy(update={"activation": "none"}) if isinstance(meant, ClassesOutput) else meant
