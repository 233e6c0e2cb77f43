"""Turns a device's event into a row that a person can read."""

from sqlmodel import Session

from shoal_contract.telemetry import BlobOffer, DeploymentEvent, Event, EventBody, MissingArtifact, RoundResult
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.rollouts.facts import owner_of
from shoal_hub.rollouts.tables import Deployment


def record_device_event(session: Session, device_id: str, event: Event) -> bool:
    """Record an event; return whether it is new."""
    row = record_event(
        session,
        event.body.kind,
        _sentence(device_id, event.body),
        subject=_subject(session, device_id, event.body),
        device_id=device_id,
        severity=_severity(event.body),
        body=event.body.model_dump(mode="json", exclude_none=True),
        at=event.at,
        event_id=event.event_id,
    )
    return row is not None


def _subject(session: Session, device_id: str, body: EventBody) -> str:
    if isinstance(body, DeploymentEvent):
        deployment = session.get(Deployment, body.deployment)
        return owner_of(deployment.rollout_id) if deployment is not None else f"device/{device_id}"
    return f"federated/{body.run}" if isinstance(body, RoundResult) else f"device/{device_id}"


def _severity(body: EventBody) -> Severity:
    if isinstance(body, DeploymentEvent):
        return "error" if body.step == "fail" else "info"
    is_fine = isinstance(body, BlobOffer) or (isinstance(body, RoundResult) and body.outcome == "trained")
    return "info" if is_fine else "warning"


def _sentence(device_id: str, body: EventBody) -> str:
    match body:
        case DeploymentEvent():
            problem = f": {body.problem.message}" if body.problem else ""
            return f"{device_id}: {body.model} version {body.version}: {body.step}{problem}"
        case RoundResult():
            return f"{device_id}: round {body.round} of {body.run}: {body.outcome}"
        case MissingArtifact():
            return f"{device_id} does not find artifact {body.sha256[:12]}: {body.detail or 'silence'}"
        case BlobOffer():
            return f"{device_id} offers {body.size_bytes} bytes ({body.purpose}, {body.sha256[:12]})"
