"""Runs: begun, found, ended, let go and brought back, searched."""

from collections.abc import Sequence
from typing import Final, Literal
from uuid import uuid4

from sqlmodel import Session, col, select

from shoal_hub.database import announce, is_among
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.tracking.conditions import Searched, conditions, orders
from shoal_hub.tracking.experiments import View, require_active
from shoal_hub.tracking.filters import read_filter, read_order
from shoal_hub.tracking.pages import Page, read_page
from shoal_hub.tracking.tables import Experiment, RunStatus, TrackedRun
from shoal_hub.tracking.tags import Tags, set_tags

NAME_TAG: Final = "mlflow.runName"
"""The tag that says the same as the run's name, and is kept so."""
_MAX_NAME: Final = 500
_MAX_EXPERIMENTS: Final = 1000
_RUN: Final = Searched(
    kind="run",
    owner=col(TrackedRun.id),
    attributes={
        "run_id": col(TrackedRun.id),
        "run_name": col(TrackedRun.name),
        "Run name": col(TrackedRun.name),
        "experiment_id": col(TrackedRun.experiment),
        "status": col(TrackedRun.status),
        "user_id": col(TrackedRun.user_name),
        "artifact_uri": col(TrackedRun.artifact_uri),
        "start_time": col(TrackedRun.started_ms),
        "Created": col(TrackedRun.started_ms),
        "created": col(TrackedRun.started_ms),
        "end_time": col(TrackedRun.ended_ms),
    },
    numeric=frozenset({"start_time", "Created", "created", "end_time"}),
    has_values=True,
    has_inputs=True,
)


def create_run(
    session: Session, experiment: Experiment, *, name: str, user_name: str, started_ms: int, tags: Tags, by: str
) -> TrackedRun:
    """Begin a run; one without a name is called by its id.

    Raises:
        InvalidInputError: The experiment was let go, or the name is too long.
    """
    require_active(experiment)
    number = uuid4().hex
    shown = _named(name or tags.get(NAME_TAG, "") or f"run-{number[:8]}")
    row = TrackedRun(
        id=number,
        experiment=experiment.id,
        name=shown,
        status="RUNNING",
        user_name=user_name,
        started_ms=started_ms,
        artifact_uri=f"{experiment.artifact_location}/{number}/artifacts",
        created_by=by,
    )
    session.add(row)
    session.flush()
    set_tags(session, "run", number, {**tags, NAME_TAG: shown})
    announce(session, "runs")
    return row


def find_run(session: Session, run_id: str) -> TrackedRun:
    """Return a run, also one that was let go.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(TrackedRun, run_id)
    if row is None:
        raise NotFoundError(f"no run with the id {run_id[:80]!r}", "list them: shoal runs list")
    return row


def find_active(session: Session, run_id: str) -> TrackedRun:
    """Return a run that still takes something.

    Raises:
        InvalidInputError: It was let go.
        NotFoundError: There is none.
    """
    row = find_run(session, run_id)
    if row.lifecycle != "active":
        raise InvalidInputError(f"the run {run_id} is deleted", f"bring it back: mlflow runs restore --run-id {run_id}")
    return row


def update_run(
    session: Session, row: TrackedRun, *, status: RunStatus | None, ended_ms: int | None, name: str | None
) -> None:
    """Say how a run stands; what is None stays. A run that is taken up again has not ended.

    Raises:
        InvalidInputError: The name is too long.
    """
    if status is not None:
        row.status = status
        row.ended_ms = None if status in {"RUNNING", "SCHEDULED"} else row.ended_ms
    if ended_ms is not None:
        row.ended_ms = ended_ms
    if name:
        row.name = _named(name)
        set_tags(session, "run", row.id, {NAME_TAG: row.name})
    session.add(row)
    announce(session, "runs")


def set_run_tags(session: Session, row: TrackedRun, tags: Tags) -> None:
    """Set tags of a run; the one that names it names it."""
    if NAME_TAG in tags:
        row.name = _named(tags[NAME_TAG])
        session.add(row)
    set_tags(session, "run", row.id, tags)


def set_lifecycle(session: Session, row: TrackedRun, lifecycle: Literal["active", "deleted"]) -> None:
    """Let a run go, or bring it back; what it logged is kept in either case."""
    row.lifecycle = lifecycle
    session.add(row)
    announce(session, "runs")


def search_runs(
    session: Session,
    experiments: Sequence[str],
    text: str,
    order_by: Sequence[str],
    *,
    view: View,
    limit: int,
    token: str,
) -> Page[TrackedRun]:
    """Return one page of the runs that a filter in MLflow's words matches, those that began last first.

    Args:
        session: An open session.
        experiments: Ids of those whose runs are meant; none: all.
        text: The filter.
        order_by: What else they are ordered by, first.
        view: Whether runs that were let go are meant.
        limit: Of the page.
        token: Of the page; empty for the first.

    Raises:
        InvalidInputError: The filter, an order or the token cannot be read, or too many experiments are named.
    """
    if len(experiments) > _MAX_EXPERIMENTS:
        raise InvalidInputError(
            f"searching runs of {len(experiments)} experiments at once", f"name {_MAX_EXPERIMENTS} at most"
        )
    dialect = session.get_bind().dialect.name
    wanted = select(TrackedRun).where(*conditions(_RUN, read_filter(text), dialect=dialect))
    if experiments:
        wanted = wanted.where(is_among(col(TrackedRun.experiment), experiments))
    if view != "ALL":
        wanted = wanted.where(TrackedRun.lifecycle == ("active" if view == "ACTIVE_ONLY" else "deleted"))
    ordered = orders(_RUN, [read_order(one) for one in order_by])
    newest = (col(TrackedRun.started_ms).desc(), col(TrackedRun.id))
    return read_page(session, wanted.order_by(*ordered, *newest), limit=limit, token=token)


def _named(name: str) -> str:
    if len(name) > _MAX_NAME:
        raise InvalidInputError(
            f"a name of a run has at most {_MAX_NAME} characters, {len(name)} found", "choose a shorter one"
        )
    return name
