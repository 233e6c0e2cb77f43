"""The trials that run, which are looked for at every tick; most of the time there is none."""

from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_hub.bulk import Query
from shoal_hub.trials.tables import Trial

_IS_RUNNING: Final = col(Trial.state) == "running"
_ANY: Final = Query(select_columns(col(Trial.id)).where(_IS_RUNNING).limit(1))


def running_trials(session: Session) -> list[Trial]:
    """Return the trials that run."""
    session.flush()  # whether there is any is read by column
    return list(session.exec(select(Trial).where(_IS_RUNNING))) if _ANY.rows(session) else []
