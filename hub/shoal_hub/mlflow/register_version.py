"""Registers a model version that a client of MLflow's API makes: for devices where that goes, else tracked."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from sqlmodel import Session

from shoal_hub.context import HubContext
from shoal_hub.database import announce, utc_now
from shoal_hub.dependencies import audited
from shoal_hub.events.record import record_event
from shoal_hub.mlflow.fleet import Served, Trained, prepared
from shoal_hub.mlflow.registry_answers import version_owner
from shoal_hub.mlflow.sources import hub_path, resolve
from shoal_hub.registry.records import keep_records
from shoal_hub.registry.register import RegisterRequest, register
from shoal_hub.registry.tables import Model
from shoal_hub.registry.tracked import find_tracked_model, next_number
from shoal_hub.registry.tracked_tables import TrackedVersion
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.files import files_below
from shoal_hub.tracking.logged_models import find_logged_model
from shoal_hub.tracking.tables import TrackedFile
from shoal_hub.tracking.tags import Tags, set_tags
from shoal_hub.tracking.values import latest_of, params_of

_ELSEWHERE: Final = "its files are not among the hub's artifacts"
_NOTHING: Final = "there are no files under its source"
_LONGEST_LINE: Final = 256


@dataclass(frozen=True)
class Asked:
    """A version as a client asks for it.

    Attributes:
        name: Of the model.
        source: The URI of its files.
        run: The run that made it; empty: that of the logged model.
        run_link: An address for people.
        logged_model: The logged model that it is.
        description: For people.
        tags: By their keys.
        by: Who asks.
    """

    name: str
    source: str
    run: str
    run_link: str
    logged_model: str
    description: str
    tags: Tags
    by: str


def register_version(hub: HubContext, asked: Asked) -> TrackedVersion:
    """Add the next version of a model: one that devices can serve, if its files are that.

    Raises:
        InvalidInputError: The source is of no form that is known.
        NotFoundError: The model, or what the source names, is not there.
    """
    with hub.database.session() as session:
        model = find_tracked_model(session, asked.name).model
        uri = resolve(session, asked.source)
        if asked.logged_model and not asked.run:
            asked = replace(asked, run=find_logged_model(session, asked.logged_model).run)
        files, trained = _files(session, uri), _trained(session, asked)
    if not files:
        return _keep(hub, model, uri, asked, _ELSEWHERE if files is None else _NOTHING)
    with prepared(hub, model, files, trained) as found:
        return _keep(hub, model, uri, asked, found)


def _keep(hub: HubContext, model: str, uri: str, asked: Asked, found: Served | str) -> TrackedVersion:
    now = utc_now()
    with audited(hub) as session:
        if isinstance(found, str):
            row = _tracked(session, model, found, by=asked.by, now_ms=to_ms(now))
        else:
            request, by = RegisterRequest(recipe=_recipe(asked)), asked.by
            version = register(
                session, hub.artifacts, found.folder, found.bundle, found.inspection, request, by=by, now=now
            )
            keep_records(session, hub.artifacts, hub.director.sign, version)
            row = session.get_one(TrackedVersion, (model, version.number))
        row.source, row.artifact_uri, row.run, row.run_link = asked.source, uri, asked.run, asked.run_link
        row.logged_model, row.description = asked.logged_model, asked.description
        session.add(row)
        session.flush()
        set_tags(session, "version", version_owner(row), asked.tags)
    return row


def _tracked(session: Session, model: str, reason: str, *, by: str, now_ms: int) -> TrackedVersion:
    session.get_one(Model, model, with_for_update=True)  # two that register at once get a number each
    row = TrackedVersion(
        model=model,
        number=next_number(session, model),
        is_served=False,
        reason=reason,
        created_by=by,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    session.add(row)
    message = f"{model} version {row.number} tracked for {by}: no device can serve it: {reason}"
    record_event(session, "version_tracked", message, subject=f"model/{model}")
    announce(session, "models")
    return row


def _files(session: Session, uri: str) -> list[TrackedFile] | None:
    """Return the files under a URI, or the one that it names; None where they are elsewhere."""
    path = hub_path(uri)
    if not path:
        return None
    one = session.get(TrackedFile, path)
    return files_below(session, path) if one is None else [one]


def _trained(session: Session, asked: Asked) -> Trained:
    params: dict[str, Any] = dict(params_of(session, [asked.run])[asked.run])
    metrics = {one.key: one.value for one in latest_of(session, [asked.run])[asked.run] if isfinite(one.value)}
    return Trained(asked.by, params, metrics)


def _recipe(asked: Asked) -> dict[str, str]:
    """Return where a version comes from, as its provenance tells it."""
    told = {"mlflow.run": asked.run, "mlflow.source": asked.source[:_LONGEST_LINE]}
    return {name: text for name, text in told.items() if text}
