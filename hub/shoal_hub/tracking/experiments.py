"""Experiments: made, found, changed, let go and brought back, searched."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from sqlmodel import Session, col, select

from shoal_hub.errors import ExistsError, InvalidInputError, NotFoundError
from shoal_hub.tracking.conditions import Searched, conditions, orders
from shoal_hub.tracking.filters import read_filter, read_order
from shoal_hub.tracking.pages import Page, read_page
from shoal_hub.tracking.tables import DEFAULT_EXPERIMENT, Experiment
from shoal_hub.tracking.tags import Tags, set_tags

View = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
PROXIED: Final = "mlflow-artifacts:"
"""Scheme of files that the hub keeps itself."""
_IDS: Final = 10**17
"""Ids are numbers of eighteen digits: some of MLflow's tools take nothing else."""
_MAX_NAME: Final = 500
_SEARCHED: Final = Searched(
    kind="experiment",
    owner=col(Experiment.id),
    attributes={
        "name": col(Experiment.name),
        "experiment_id": col(Experiment.id),
        "creation_time": col(Experiment.created_ms),
        "last_update_time": col(Experiment.updated_ms),
    },
    numeric=frozenset({"creation_time", "last_update_time"}),
)


def to_ms(at: datetime) -> int:
    """Return a time as MLflow tells it: milliseconds since 1970."""
    return int(at.timestamp() * 1000)


def create_experiment(
    session: Session, name: str, *, artifact_location: str, tags: Tags, by: str, now: datetime
) -> Experiment:
    """Add an experiment; without a place for its files, these go to the hub.

    Raises:
        ExistsError: There is one of this name.
        InvalidInputError: The name is none.
    """
    require_free_name(session, name)
    number = str(_IDS + secrets.randbelow(9 * _IDS))
    row = Experiment(
        id=number,
        name=name,
        artifact_location=artifact_location.rstrip("/") or f"{PROXIED}/{number}",
        created_by=by,
        created_ms=to_ms(now),
        updated_ms=to_ms(now),
    )
    session.add(row)
    session.flush()
    set_tags(session, "experiment", number, tags)
    return row


def find_experiment(session: Session, number: str) -> Experiment:
    """Return an experiment by id, also one that was let go.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(Experiment, number)
    if row is None:
        raise NotFoundError(f"no experiment with the id {number[:80]!r}", "list them: mlflow experiments search")
    return row


def find_by_name(session: Session, name: str) -> Experiment:
    """Return an experiment by name, also one that was let go.

    Raises:
        NotFoundError: There is none.
    """
    row = session.exec(select(Experiment).where(Experiment.name == name)).first()
    if row is None:
        raise NotFoundError(f"no experiment with the name {name[:80]!r}", "list them: mlflow experiments search")
    return row


def experiment_for(session: Session, name: str, *, by: str, now: datetime) -> Experiment:
    """Return the experiment of this name, made where there is none.

    Raises:
        InvalidInputError: It was let go, or the name is none.
    """
    row = session.exec(select(Experiment).where(Experiment.name == name)).first()
    if row is None:
        return create_experiment(session, name, artifact_location="", tags={}, by=by, now=now)
    require_active(row)
    return row


def require_active(row: Experiment) -> None:
    """See that an experiment still takes something.

    Raises:
        InvalidInputError: It was let go.
    """
    if row.lifecycle != "active":
        raise InvalidInputError(
            f"the experiment {row.name!r} is deleted", f"bring it back: mlflow experiments restore -x {row.id}"
        )


def rename_experiment(session: Session, row: Experiment, name: str, now: datetime) -> None:
    """Give an experiment another name.

    Raises:
        ExistsError: There is one of this name.
        InvalidInputError: The name is none, or the experiment was let go.
    """
    require_active(row)
    if name != row.name:
        require_free_name(session, name)
    row.name, row.updated_ms = name, to_ms(now)
    session.add(row)


def set_lifecycle(session: Session, row: Experiment, lifecycle: Literal["active", "deleted"], now: datetime) -> None:
    """Let an experiment go, or bring it back; its runs are kept in either case.

    Raises:
        InvalidInputError: It is the one for runs that name none.
    """
    if row.id == DEFAULT_EXPERIMENT and lifecycle == "deleted":
        raise InvalidInputError("the experiment Default is where runs go that name none", "delete its runs instead")
    row.lifecycle, row.updated_ms = lifecycle, to_ms(now)
    session.add(row)


def search_experiments(
    session: Session, text: str, order_by: Sequence[str], *, view: View, limit: int, token: str
) -> Page[Experiment]:
    """Return one page of the experiments that a filter in MLflow's words matches, the newest first.

    Raises:
        InvalidInputError: The filter, an order or the token cannot be read.
    """
    dialect = session.get_bind().dialect.name
    wanted = select(Experiment).where(*conditions(_SEARCHED, read_filter(text), dialect=dialect))
    if view != "ALL":
        wanted = wanted.where(Experiment.lifecycle == ("active" if view == "ACTIVE_ONLY" else "deleted"))
    ordered = orders(_SEARCHED, [read_order(one) for one in order_by])
    newest = (col(Experiment.created_ms).desc(), col(Experiment.id).desc())
    return read_page(session, wanted.order_by(*ordered, *newest), limit=limit, token=token)


def require_free_name(session: Session, name: str) -> None:
    """See that an experiment may have this name.

    Raises:
        ExistsError: There is one, which may have been let go.
        InvalidInputError: It is empty, or longer than names are.
    """
    if not name.strip() or len(name) > _MAX_NAME:
        raise InvalidInputError(
            f"a name of an experiment has 1 to {_MAX_NAME} characters, {len(name)} found", "choose one"
        )
    there = session.exec(select(Experiment).where(Experiment.name == name)).first()
    if there is not None:
        remedy = (
            f"bring it back: mlflow experiments restore -x {there.id}"
            if there.lifecycle == "deleted"
            else "choose another"
        )
        raise ExistsError(f"there is an experiment {name!r} already ({there.lifecycle})", remedy)
