"""Finds versions by number, `latest`, stage or alias, and moves aliases."""

from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.registry.tables import Alias, Model, VariantRow, Version
from shoal_hub.registry.tracked_tables import TrackedVersion

STAGES: Final = ("none", "staging", "production", "archived")
RESERVED_REFS: Final = frozenset({"latest", *STAGES})
ALIAS_REMEDY: Final = "choose a word that is no number, no stage and not latest"


def find_model(session: Session, name: str) -> Model:
    """Return a model.

    Raises:
        NotFoundError: The registry has none of this name.
    """
    model = session.get(Model, name)
    if model is None:
        raise NotFoundError(f"no model {name}", "list them: shoal models list")
    return model


def find_version(session: Session, model: str, ref: str) -> Version:
    """Return a version by number, `latest`, stage (its newest in that stage) or alias.

    Raises:
        NotFoundError: There is no such model or version.
    """
    find_model(session, model)
    wanted = select(Version).where(Version.model == model).order_by(col(Version.number).desc())
    number = _number(session, model, ref)
    if number is not None:
        wanted = wanted.where(Version.number == number)
    elif ref in STAGES:
        wanted = wanted.where(Version.stage == ref)
    version = session.exec(wanted).first() if number is not None or ref in RESERVED_REFS else None
    if version is None:
        tracked = session.get(TrackedVersion, (model, number)) if number is not None else None
        if tracked is not None and not tracked.is_served:
            raise NotFoundError(
                f"version {ref} of {model} is tracked only: no device can serve it: {tracked.reason}",
                "register a version with an ONNX model and samples, or a bundle",
            )
        raise NotFoundError(f"no version {ref} of {model}", f"list them: shoal models show {model}")
    return version


def find_variants(session: Session, version: Version) -> list[VariantRow]:
    """Return a version's variants by target."""
    wanted = select(VariantRow).where(VariantRow.version_id == version.id).order_by(VariantRow.target)
    return list(session.exec(wanted))


def set_alias(session: Session, model: str, alias: str, number: int) -> None:
    """Point an alias at a version, wherever it pointed before.

    Raises:
        ConflictError: The alias would be mistaken for a number, a stage or `latest`.
        NotFoundError: There is no such version.
    """
    if alias in RESERVED_REFS or alias.isdigit():
        raise ConflictError(f"{alias} cannot be an alias", ALIAS_REMEDY)
    if session.get(TrackedVersion, (model, number)) is None:
        find_version(session, model, str(number))
    session.get(Model, model, with_for_update=True)  # two that set it at once come one after the other
    row = session.get(Alias, (model, alias)) or Alias(model=model, alias=alias, number=number)
    row.number = number
    session.add(row)


def _number(session: Session, model: str, ref: str) -> int | None:
    if ref.isascii() and ref.isdigit() and len(ref) < 10:  # noqa: PLR2004 - nine digits fit a 32-bit column
        return int(ref)
    alias = session.get(Alias, (model, ref))
    return alias.number if alias else None
