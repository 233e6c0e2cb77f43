"""Turns a device's event into a row that a person can read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sqlmodel import Session, col, select

from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    Event,
    EventBody,
    MissingArtifact,
    RoundResult,
)
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Deployment

_QUERY_ROWS: Final = 500


class Lookup:
    """What the events of one batch need from the database, read at once: one query each would be most of the work."""

    def __init__(self, session: Session, events: Sequence[Event]) -> None:
        bodies = [event.body for event in events]
        deployments = {body.deployment for body in bodies if isinstance(body, DeploymentEvent)}
        self._known: set[str] = set()
        self._rollouts: dict[str, str] = {}
        for part in _parts({event.event_id for event in events}):
            found = session.exec(select(EventRow.event_id).where(col(EventRow.event_id).in_(part)))
            self._known.update(one for one in found if one is not None)
        for part in _parts(deployments):
            rows = session.exec(select(Deployment.id, Deployment.rollout_id).where(col(Deployment.id).in_(part)))
            self._rollouts.update(rows.all())

    def is_new(self, event: Event) -> bool:
        """Whether the event was not recorded before; asking counts as recording."""
        is_new = event.event_id not in self._known
        self._known.add(event.event_id)
        return is_new

    def subject_of(self, device_id: str, body: EventBody) -> str:
        """Return what an event is about."""
        if isinstance(body, DeploymentEvent) and body.deployment in self._rollouts:
            return owner_of(self._rollouts[body.deployment])
        return f"federated/{body.run}" if isinstance(body, RoundResult) else f"device/{device_id}"


def record_device_event(session: Session, device_id: str, event: Event, lookup: Lookup) -> None:
    """Record an event that is new. An offer is none: it may be made any number of times, and its refusal is told."""
    if isinstance(event.body, BlobOffer):
        return
    row = record_event(
        session,
        event.body.kind,
        _sentence(device_id, event.body),
        subject=lookup.subject_of(device_id, event.body),
        device_id=device_id,
        severity=_severity(event.body),
        body=event.body.model_dump(mode="json", exclude_none=True),
        at=event.at,
    )
    if row is not None:
        row.event_id = event.event_id  # that it is new was looked up for the whole batch


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _QUERY_ROWS):
        yield ordered[start : start + _QUERY_ROWS]


def _severity(body: EventBody) -> Severity:
    if isinstance(body, DeploymentEvent):
        return "error" if body.step == "fail" else "warning" if body.step == "roll_back" else "info"
    is_fine = isinstance(body, BlobOffer | EncryptionKeyReplaced) or (
        isinstance(body, RoundResult) and body.outcome == "trained"
    )
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
        case EncryptionKeyReplaced():
            return f"{device_id} has the encryption key {body.encryption_key[:12]}"
        case BlobOffer():
            return f"{device_id} offers {body.size_bytes} bytes ({body.purpose}, {body.sha256[:12]})"
