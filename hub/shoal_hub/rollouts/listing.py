"""Which of a rollout's deployments an answer holds, where there are too many for all, with their devices' names."""

from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, NamedTuple, get_args

from sqlalchemy import Integer, bindparam, case, func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.bulk import Query
from shoal_hub.devices.tables import Device
from shoal_hub.rollouts.tables import Deployment, DeploymentState, JsonObject

Order = Literal["wave", "concern"]
"""By wave; or first what has failed, then what is at it, then what has yet to begin, each by wave."""

_CONCERN: Final[dict[DeploymentState, int]] = {"failed": 0, "timed_out": 0, "working": 1, "assigned": 1, "pending": 2}


class Listed(NamedTuple):
    """The columns of a deployment that are shown, and how its device is called."""

    id: str
    device_id: str
    wave: int
    target: str
    state: DeploymentState
    step: str
    waits_for: str
    tries: int
    failure: str
    from_version: int | None
    fetched_bytes: int | None
    forecast_bytes: int | None
    problem: JsonObject | None
    assigned_at: datetime | None
    ended_at: datetime | None
    device_name: str


def first_deployments(session: Session, rollout_id: str, order: Order, limit: int) -> list[Listed]:
    """Return the first deployments of a rollout.

    Args:
        session: A session.
        rollout_id: The rollout.
        order: What comes first.
        limit: How many at most.
    """
    session.flush()  # they are read by column
    return list(map(Listed._make, _first(order).rows(session, of_rollout=rollout_id, most=limit)))


@cache
def _first(order: Order) -> Query:
    columns = (getattr(Deployment, name) for name in Listed._fields[:-1])
    name = func.coalesce(col(Device.name), col(Deployment.device_id))
    joined: Any = select_columns(*columns, name).outerjoin(Device, col(Device.id) == col(Deployment.device_id))
    wanted = joined.where(col(Deployment.rollout_id) == bindparam("of_rollout"))
    if order == "concern":
        last = len(get_args(DeploymentState))
        wanted = wanted.order_by(case(_CONCERN, value=col(Deployment.state), else_=last))
    ordered = wanted.order_by(col(Deployment.wave), col(Deployment.device_id))
    return Query(ordered.limit(bindparam("most", type_=Integer())))
