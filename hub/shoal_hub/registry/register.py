"""Registers a version: a checked bundle folder becomes a row, and its files become artifacts."""

import math
import re
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from shoal_contract.ids import Name
from shoal_contract.manifest import Provenance
from shoal_hub.compositions.names import require_free_name
from shoal_hub.database import add_unless_there, announce
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.card import check_licence
from shoal_hub.registry.inspection import Inspection
from shoal_hub.registry.tables import Model, Version
from shoal_hub.registry.tracked import next_number, track_version
from shoal_hub.registry.versions import set_alias
from shoal_hub.requests import Line, RowNumber
from shoal_training.bundle import BUNDLE_FILE, CARD_FILE, KERAS_FILE, Bundle, read_bundle, read_card
from shoal_training.errors import TrainingError

_REMEDY = "write the bundle again with the tool that made it"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it, which databases do not keep; after a further backslash it is text that speaks of one."""


class RegisterRequest(BaseModel):
    """What the registry is told besides the bundle."""

    model_config = ConfigDict(frozen=True)

    description: Line = ""
    """Of the model; kept only where it is new."""
    aliases: tuple[Name, ...] = Field(default=(), max_length=16)
    parent_version: RowNumber | None = None
    federated_run: Name | None = None
    recipe: dict[Name, Line] = Field(default_factory=dict, max_length=32)
    is_encrypted: bool = False
    """Whether it leaves the hub encrypted only; so does every version of a model whose policy says so."""


def read_checked_bundle(folder: Path, model: str, *, is_licence_required: bool = False) -> Bundle:
    """Read a bundle that was sent for `model`, with its model card.

    Raises:
        InvalidInputError: It is not whole, of another model, or says something that cannot be kept.
    """
    try:
        text = (folder / BUNDLE_FILE).read_bytes() if (folder / BUNDLE_FILE).exists() else b""
        bundle = read_bundle(folder)
        card = read_card(folder) if CARD_FILE in bundle.files else None
    except TrainingError as error:
        raise InvalidInputError(str(error).replace(f"{folder}", "bundle"), _REMEDY) from error
    if bundle.name != model:
        raise InvalidInputError(
            f"registering {model}: the bundle is of the model {bundle.name}", f"register it as {bundle.name}"
        )
    check_licence(card.licence if card else "", is_required=is_licence_required)
    numbers = [*bundle.metrics.values(), *(value for value in bundle.parameters.values() if isinstance(value, float))]
    if _NUL.search(text) or not all(math.isfinite(number) for number in numbers):
        raise InvalidInputError("reading bundle.json: it holds a NUL or a number that is not finite", _REMEDY)
    return bundle


def register(
    session: Session,
    store: ArtifactStore,
    folder: Path,
    bundle: Bundle,
    inspection: Inspection,
    request: RegisterRequest,
    *,
    by: str,
    now: datetime,
) -> Version:
    """Store the bundle's files and add the next version of its model.

    Raises:
        InvalidInputError: The parent version does not exist.
        ConflictError: An alias would be mistaken for something else.
    """
    model = _model(session, bundle.name, request.description, now)
    number = next_number(session, bundle.name)
    if request.parent_version is not None and request.parent_version >= number:
        raise InvalidInputError(
            f"registering {bundle.name}: there is no version {request.parent_version}", "name its parent"
        )
    files = {name: store_artifact(session, store, folder / name).sha256 for name in (*bundle.files, BUNDLE_FILE)}
    version = _row(bundle, inspection, request, files, number=number, by=by, now=now)
    card = read_card(folder) if CARD_FILE in bundle.files else None
    if card is not None:
        version.card, version.licence = card.model_dump(mode="json"), card.licence
    version.is_encrypted = request.is_encrypted or model.encrypt_versions
    session.add(version)
    session.flush()
    track_version(session, version, now)
    for alias in request.aliases:
        set_alias(session, bundle.name, alias, version.number)
    message = f"{bundle.name} version {version.number} registered by {by}"
    record_event(session, "version_registered", message, subject=f"model/{bundle.name}")
    announce(session, "models")
    return version


def _model(session: Session, name: str, description: str, now: datetime) -> Model:
    """Return the model, made if it is new; locked, so that of two that register at once each gets a number."""
    if session.get(Model, name) is None:
        require_free_name(session, name)
        add_unless_there(session, Model(name=name, description=description, created_at=now))
    return session.get_one(Model, name, with_for_update=True)


def _row(
    bundle: Bundle,
    inspection: Inspection,
    request: RegisterRequest,
    files: dict[str, str],
    *,
    number: int,
    by: str,
    now: datetime,
) -> Version:
    if inspection.baseline.disagreement:
        message = (
            f"registering a version of {bundle.name}: its baseline is of no use: {inspection.baseline.disagreement}"
        )
        raise InvalidInputError(message, "give calibration data whose features all have the same rows")
    provenance = Provenance(
        source_sha256=files.get(KERAS_FILE, files[BUNDLE_FILE]),
        data_sha256=bundle.data_sha256,
        parent_version=request.parent_version,
        federated_run=request.federated_run,
        recipe={
            "seed": str(bundle.seed),
            **{f"tool.{tool}": version for tool, version in sorted(bundle.tool_versions.items())},
            **request.recipe,
        },
    )
    return Version(
        model=bundle.name,
        number=number,
        algorithm=bundle.algorithm,
        author=bundle.author,
        framework=bundle.framework,
        metrics=bundle.metrics,
        parameters=dict(bundle.parameters),
        tags=list(bundle.tags),
        inputs=[spec.model_dump(mode="json") for spec in bundle.inputs],
        outputs=[spec.model_dump(mode="json") for spec in bundle.outputs],
        labels=list(bundle.labels),
        batching=bundle.batching,
        processing=bundle.processing.model_dump(mode="json") if bundle.processing else None,
        baseline=inspection.baseline.model_dump(mode="json"),
        provenance=provenance.model_dump(mode="json"),
        golden_inputs={},
        files=files,
        code=bundle.code.model_dump(mode="json") if bundle.code else None,
        created_at=now,
        created_by=by,
    )
