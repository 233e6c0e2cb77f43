"""Notes the steps that devices tell of. How a deployment ends is decided by the reported state alone."""

from datetime import datetime

from sqlalchemy import or_
from sqlmodel import Session, col, update

from shoal_contract.telemetry import DeploymentEvent
from shoal_hub.database import announce
from shoal_hub.registry.costs import take_costs
from shoal_hub.rollouts.tables import Deployment


def note_step(session: Session, device_id: str, body: DeploymentEvent, now: datetime) -> None:
    """Show a device's latest step in its open deployment, and keep what it has measured."""
    statement = update(Deployment).where(
        col(Deployment.id) == body.deployment,
        col(Deployment.device_id) == device_id,
        col(Deployment.state).in_(("assigned", "working")),
    )
    session.connection().execute(statement.values(state="working", step=body.step))
    if body.step != "fetch":  # told before anything has travelled
        _note_bytes(session, device_id, body)
    if body.cost is not None:
        take_costs(session, [(device_id, body.cost)], now)
    announce(session, "rollouts")


def _note_bytes(session: Session, device_id: str, body: DeploymentEvent) -> None:
    """Note what has travelled, also after the end; a later attempt that found the file there takes nothing back."""
    known = col(Deployment.fetched_bytes)
    statement = update(Deployment).where(
        col(Deployment.id) == body.deployment,
        col(Deployment.device_id) == device_id,
        or_(known.is_(None), known < body.fetched_bytes),
    )
    session.connection().execute(statement.values(fetched_bytes=body.fetched_bytes))
