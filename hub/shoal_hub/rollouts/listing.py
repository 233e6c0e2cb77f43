"""Which of a rollout's deployments an answer holds, where there are too many for all, and their devices' names."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from sqlalchemy import case
from sqlmodel import Session, col, select

from shoal_hub.database import in_parts
from shoal_hub.devices.tables import Device
from shoal_hub.rollouts.tables import Deployment, DeploymentState

Order = Literal["wave", "concern"]
"""By wave; or first what has failed, then what is at it, then what has yet to begin, each by wave."""

_CONCERN: Final[dict[DeploymentState, int]] = {"failed": 0, "timed_out": 0, "working": 1, "assigned": 1, "pending": 2}


def first_deployments(session: Session, rollout_id: str, order: Order, limit: int) -> list[Deployment]:
    """Return the first deployments of a rollout.

    Args:
        session: A session.
        rollout_id: The rollout.
        order: What comes first.
        limit: How many at most.
    """
    wanted = select(Deployment).where(Deployment.rollout_id == rollout_id)
    if order == "concern":
        last = len(get_args(DeploymentState))
        wanted = wanted.order_by(case(_CONCERN, value=col(Deployment.state), else_=last))
    return list(session.exec(wanted.order_by(col(Deployment.wave), col(Deployment.device_id)).limit(limit)))


def device_names(session: Session, deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return how the devices of these deployments are called, by id."""
    names: dict[str, str] = {}
    for part in in_parts([one.device_id for one in deployments]):
        names |= dict(session.exec(select(Device.id, Device.name).where(col(Device.id).in_(part))).all())
    return names
