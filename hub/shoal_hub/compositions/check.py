"""What a device would refuse of a composition, said before any device is told, as far as the registry knows."""

from typing import Final

from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from shoal_contract.composition_fit import Signature, fit_signatures
from shoal_contract.compositions import DesiredComposition
from shoal_contract.errors import CompositionFitError
from shoal_contract.limits import MAX_COMPOSITION_BYTES
from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import Processing
from shoal_hub.compositions.tables import CompositionRow
from shoal_hub.errors import ConflictError, InvalidInputError
from shoal_hub.registry.tables import Model, Version
from shoal_hub.strict_body import require_plain_text

_TENSORS: Final = TypeAdapter(tuple[TensorSpec, ...])


def check_composition(session: Session, name: str, body: DesiredComposition) -> None:
    """See that a composition can be served by devices that have its members in their newest versions.

    Raises:
        ConflictError: A model has its name.
        InvalidInputError: A member is no model of the registry, or they do not fit each other; or it is too large.
    """
    doing = f"composing {name}"
    require_plain_text(doing, body)
    if (size := len(body.model_dump_json().encode())) > MAX_COMPOSITION_BYTES:
        raise InvalidInputError(
            f"{doing}: it takes {size} bytes, at most {MAX_COMPOSITION_BYTES} have room in a state",
            "rename fewer tensors, or give them shorter names",
        )
    _check_members(session, doing, name, body)
    signatures = [_signature(session, model) for model in body.models]
    known = [one for one in signatures if one is not None]
    if len(known) < len(signatures):  # of a model without versions nothing is known yet: the device looks
        return
    try:
        fit_signatures(body, known)
    except CompositionFitError as error:
        raise InvalidInputError(
            f"{doing}: {error}", "rename tensors by inputs and outputs, or register versions that fit each other"
        ) from error


def _check_members(session: Session, doing: str, name: str, body: DesiredComposition) -> None:
    if session.get(Model, name) is not None:
        raise ConflictError(f"{doing}: there is a model of this name", "give the composition a name of its own")
    for member in body.models:
        if session.get(Model, member) is not None:
            continue
        if member == name or session.get(CompositionRow, member) is not None:
            raise InvalidInputError(
                f"{doing}: its member {member} is a composition", "name the models that are to be asked instead"
            )
        raise InvalidInputError(f"{doing}: there is no model {member}", "list them: shoal models list")


def _signature(session: Session, model: str) -> Signature | None:
    """Return what the registry knows of a model's newest version; None: it has none."""
    newest = select(Version).where(Version.model == model).order_by(col(Version.number).desc()).limit(1)
    found = session.exec(newest).first()
    if found is None:
        return None
    return Signature(
        model,
        found.number,
        _TENSORS.validate_python(found.inputs),
        _TENSORS.validate_python(found.outputs),
        found.labels,
        None if found.processing is None else Processing.model_validate(found.processing),
    )
