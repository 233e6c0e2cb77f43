"""Notes the steps that devices tell of. How a deployment ends is decided by the reported state alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, and_, bindparam, case, or_
from sqlmodel import Session, col, update

from shoal_contract.telemetry import DeploymentEvent
from shoal_hub.database import announce
from shoal_hub.registry.costs import take_costs
from shoal_hub.rollouts.tables import Deployment

STEPS: Final = "steps"
"""The word for readers that a step was noted. No rollout gets further by one, so the controller does not look."""


def note_steps(session: Session, told: Sequence[tuple[str, DeploymentEvent]], now: datetime) -> None:
    """Show devices' latest steps in their open deployments, and keep what has travelled and what they have measured.

    What has travelled is noted also after the end; a later attempt that found the file there takes nothing back of it.

    Args:
        session: An open transaction.
        told: Device ids and what they told, in the order in which it came.
        now: The clock.
    """
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for device_id, body in told:
        place = (body.deployment, device_id)
        former = latest.get(place, {"of_deployment": body.deployment, "of_device": device_id, "bytes": None})
        # Before `fetch` has ended nothing has travelled.
        travelled = (former["bytes"], body.fetched_bytes if body.step != "fetch" else None)
        latest[place] = former | {
            "new_step": body.step,
            "bytes": max((one for one in travelled if one is not None), default=None),
        }
    if latest:
        # In the order in which the controller writes them: two writers then wait for each other in turn.
        session.connection().execute(_NOTE, [latest[place] for place in sorted(latest)])
        announce(session, STEPS)
    if costs := [(device_id, body.cost) for device_id, body in told if body.cost is not None]:
        take_costs(session, costs, now)


_is_open: Final = or_(col(Deployment.state) == "assigned", col(Deployment.state) == "working")  # IN takes no many rows
_known: Final = col(Deployment.fetched_bytes)
_bytes: Final[BindParameter[int | None]] = bindparam("bytes", type_=BigInteger)
_NOTE: Final = (  # built once: building it takes several times as long as executing it
    update(Deployment)
    .where(
        col(Deployment.id) == bindparam("of_deployment"),
        col(Deployment.device_id) == bindparam("of_device"),
    )
    .values(
        state=case((_is_open, "working"), else_=col(Deployment.state)),
        step=case((_is_open, bindparam("new_step")), else_=col(Deployment.step)),
        fetched_bytes=case((and_(_bytes.is_not(None), or_(_known.is_(None), _known < _bytes)), _bytes), else_=_known),
    )
    .execution_options(synchronize_session=False)
)
