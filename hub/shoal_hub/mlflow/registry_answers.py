"""Registered models and their versions as MLflow's messages have them."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from sqlmodel import Session, col, func, select

from shoal_hub.database import is_among
from shoal_hub.mlflow.wire import Json, pairs
from shoal_hub.registry.tables import Alias, Model, Stage, Version
from shoal_hub.registry.tracked_tables import TrackedModel, TrackedVersion
from shoal_hub.tracking.tags import tags_of

STAGES: Final[Mapping[Stage, str]] = {
    "none": "None",
    "staging": "Staging",
    "production": "Production",
    "archived": "Archived",
}
"""MLflow's words for the registry's stages."""
_SERVED: Final = "devices can serve it"


def shown_models(session: Session, rows: Sequence[TrackedModel]) -> list[Json]:
    """Return models with their tags, aliases and, of each stage, the newest version."""
    names = {row.model: row.name for row in rows}
    tags = tags_of(session, "model", names)
    described = dict(session.exec(select(Model.name, Model.description).where(is_among(col(Model.name), names))).all())
    aliases = select(Alias).where(is_among(col(Alias.model), names)).order_by(Alias.alias)
    pointed = [(row.model, {"alias": row.alias, "version": str(row.number)}) for row in session.exec(aliases)]
    newest = [(row.model, one) for row, one in _paired(session, _newest(session, list(names)))]
    return [
        {
            "name": row.name,
            "creation_timestamp": row.created_ms,
            "last_updated_timestamp": row.updated_ms,
            "description": described.get(row.model, ""),
            "tags": pairs(tags[row.model]),
            "aliases": [alias for model, alias in pointed if model == row.model],
            "latest_versions": [version for model, version in newest if model == row.model],
        }
        for row in rows
    ]


def shown_versions(session: Session, rows: Sequence[TrackedVersion]) -> list[Json]:
    """Return versions; `status_message` says whether devices can serve one, and else why not."""
    return [one for _, one in _paired(session, rows)]


def latest_versions(session: Session, model: str, stages: Sequence[Stage]) -> list[Json]:
    """Return the newest version of each of these stages; of all stages, if none is named."""
    found = _paired(session, _newest(session, [model]))
    return [one for row, one in found if not stages or one["current_stage"] in {STAGES[stage] for stage in stages}]


def version_owner(row: TrackedVersion) -> str:
    """Return under which name a version's tags are kept."""
    return f"{row.model}/{row.number}"


def _paired(session: Session, rows: Sequence[TrackedVersion]) -> list[tuple[TrackedVersion, Json]]:
    models = sorted({row.model for row in rows})
    names = dict(
        session.exec(
            select(TrackedModel.model, TrackedModel.name).where(is_among(col(TrackedModel.model), models))
        ).all()
    )
    stages = _stages(session, models)
    tags = tags_of(session, "version", [version_owner(row) for row in rows])
    aliases = session.exec(select(Alias).where(is_among(col(Alias.model), models)).order_by(Alias.alias)).all()
    return [
        (
            row,
            {
                "name": names.get(row.model, row.model),
                "version": str(row.number),
                "creation_timestamp": row.created_ms,
                "last_updated_timestamp": row.updated_ms,
                "user_id": row.created_by,
                "current_stage": STAGES[stages.get((row.model, row.number), row.stage)],
                "description": row.description,
                "source": row.source,
                "run_id": row.run,
                "run_link": row.run_link,
                "model_id": row.logged_model,
                "status": "READY",
                "status_message": _SERVED if row.is_served else f"tracked only: no device can serve it: {row.reason}",
                "tags": pairs(tags[version_owner(row)]),
                "aliases": [one.alias for one in aliases if (one.model, one.number) == (row.model, row.number)],
            },
        )
        for row in rows
    ]


def _stages(session: Session, models: Sequence[str]) -> dict[tuple[str, int], Stage]:
    """Return the stages of versions that devices can serve, by model and number."""
    wanted = select(Version.model, Version.number, Version.stage).where(is_among(col(Version.model), models))
    return {(model, number): cast("Stage", stage) for model, number, stage in session.exec(wanted)}


def _newest(session: Session, models: Sequence[str]) -> Sequence[TrackedVersion]:
    """Return, of each model and stage, the newest version that is not hidden."""
    tracked = TrackedVersion
    served = (col(Version.model) == col(tracked.model)) & (col(Version.number) == col(tracked.number))
    stage = func.coalesce(col(Version.stage), col(tracked.stage))
    groups = (
        select(col(tracked.model).label("model"), func.max(col(tracked.number)).label("number"))
        .outerjoin(Version, served)
        .where(is_among(col(tracked.model), models), col(tracked.is_hidden).is_(False))
        .group_by(col(tracked.model), stage)
        .subquery()
    )
    joined = (col(tracked.model) == groups.c.model) & (col(tracked.number) == groups.c.number)
    wanted = select(tracked).join(groups, joined).order_by(col(tracked.model), col(tracked.number))
    return session.exec(wanted).all()
