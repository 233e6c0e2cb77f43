"""Logged models: what a run has made and stored, with parameters, tags and what was measured of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import uuid4

from sqlmodel import Session, col, select

from shoal_hub.database import is_among
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.tracking.conditions import Searched, conditions, orders
from shoal_hub.tracking.experiments import require_active, to_ms
from shoal_hub.tracking.filters import read_filter, read_order
from shoal_hub.tracking.pages import Page, read_page
from shoal_hub.tracking.tables import Experiment, LoggedModel, ModelStatus
from shoal_hub.tracking.tags import Tags, set_tags
from shoal_hub.tracking.values import log_params

_MAX_NAME: Final = 500
_FORBIDDEN: Final = frozenset("/:.%\"'")
_MODEL: Final = Searched(
    kind="logged_model",
    owner=col(LoggedModel.id),
    attributes={
        "name": col(LoggedModel.name),
        "model_id": col(LoggedModel.id),
        "model_type": col(LoggedModel.model_type),
        "status": col(LoggedModel.status),
        "source_run_id": col(LoggedModel.run),
        "creation_timestamp": col(LoggedModel.created_ms),
        "creation_time": col(LoggedModel.created_ms),
        "last_updated_timestamp": col(LoggedModel.updated_ms),
        "last_updated_time": col(LoggedModel.updated_ms),
    },
    numeric=frozenset({"creation_timestamp", "creation_time", "last_updated_timestamp", "last_updated_time"}),
    has_values=True,
)


def create_logged_model(
    session: Session,
    experiment: Experiment,
    *,
    name: str,
    model_type: str,
    run: str,
    params: Sequence[tuple[str, str]],
    tags: Tags,
    by: str,
    now: datetime,
) -> LoggedModel:
    """Add a logged model whose files are to come.

    Raises:
        InvalidInputError: The experiment was let go, or the name is none.
    """
    require_active(experiment)
    number = f"m-{uuid4().hex}"
    shown = name or f"model-{number[2:10]}"
    if len(shown) > _MAX_NAME or _FORBIDDEN & set(shown):
        raise InvalidInputError(
            f"{shown[:80]!r} is no name of a logged model", f"leave out {' '.join(sorted(_FORBIDDEN))}"
        )
    row = LoggedModel(
        id=number,
        experiment=experiment.id,
        name=shown,
        artifact_uri=f"{experiment.artifact_location}/models/{number}/artifacts",
        model_type=model_type,
        run=run,
        created_by=by,
        created_ms=to_ms(now),
        updated_ms=to_ms(now),
    )
    session.add(row)
    session.flush()
    set_tags(session, "logged_model", number, tags)
    log_params(session, number, params)
    return row


def find_logged_model(session: Session, number: str) -> LoggedModel:
    """Return a logged model that was not let go.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(LoggedModel, number)
    if row is None or row.lifecycle != "active":
        raise NotFoundError(f"no logged model with the id {number[:80]!r}", "list them: mlflow.search_logged_models()")
    return row


def finish_logged_model(session: Session, row: LoggedModel, status: ModelStatus, now: datetime) -> None:
    """Say that a logged model's files have come, or will not."""
    row.status, row.updated_ms = status, to_ms(now)
    session.add(row)


def search_logged_models(
    session: Session, experiments: Sequence[str], text: str, order_by: Sequence[str], *, limit: int, token: str
) -> Page[LoggedModel]:
    """Return one page of the logged models that a filter in MLflow's words matches, the newest first.

    Raises:
        InvalidInputError: The filter, an order or the token cannot be read.
    """
    dialect = session.get_bind().dialect.name
    wanted = select(LoggedModel).where(
        LoggedModel.lifecycle == "active",
        is_among(col(LoggedModel.experiment), experiments),
        *conditions(_MODEL, read_filter(text), dialect=dialect),
    )
    ordered = orders(_MODEL, [read_order(one) for one in order_by])
    newest = (col(LoggedModel.created_ms).desc(), col(LoggedModel.id))
    return read_page(session, wanted.order_by(*ordered, *newest), limit=limit, token=token)
