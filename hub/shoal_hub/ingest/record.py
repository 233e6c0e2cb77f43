"""Turns a device's event into a row that a person can read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import String, bindparam, insert
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.batch_jobs import BatchResult
from shoal_contract.benchmarks import BenchmarkResult
from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    Event,
    EventBody,
    LoadShed,
    MissingArtifact,
    RoundResult,
)
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import JsonText, as_texts, is_among
from shoal_hub.events.record import announce_events
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Deployment


class Lookup:
    """What the events of one batch need from the database, read at once: one query each would be most of the work."""

    def __init__(self, session: Session, events: Sequence[Event]) -> None:
        bodies = [event.body for event in events]
        deployments = {body.deployment for body in bodies if isinstance(body, DeploymentEvent)}
        self._known: set[str] = set()
        self._rollouts: dict[str, str] = {}
        if events:
            ids = as_texts({event.event_id for event in events})
            self._known.update(event_id for (event_id,) in _KNOWN.rows(session, ids=ids))
        if deployments:
            self._rollouts.update(dict(_ROLLOUTS.rows(session, ids=as_texts(deployments))))

    def is_new(self, event: Event) -> bool:
        """Whether the event was not recorded before; asking counts as recording."""
        is_new = event.event_id not in self._known
        self._known.add(event.event_id)
        return is_new

    def subject_of(self, device_id: str, body: EventBody) -> str:
        """Return what an event is about."""
        if isinstance(body, DeploymentEvent) and body.deployment in self._rollouts:
            return owner_of(self._rollouts[body.deployment])
        if isinstance(body, BatchResult):
            return f"batch/{body.batch}"
        if isinstance(body, BenchmarkResult):
            return f"benchmark/{body.benchmark}"
        return f"federated/{body.run}" if isinstance(body, RoundResult) else f"device/{device_id}"


def record_device_events(session: Session, events: Sequence[tuple[str, Event]], lookup: Lookup, now: datetime) -> None:
    """Record events that are new, by device id.

    An offer is none: it may be made any number of times, and its refusal is told.
    """
    rows = [
        {
            "event_id": event.event_id,
            "at": event.at,
            "received_at": now,
            "device_id": device_id,
            "kind": event.body.kind,
            "subject": lookup.subject_of(device_id, event.body),
            "severity": _severity(event.body),
            "message": _sentence(device_id, event.body),
            "body": JsonText(event.body.model_dump_json(exclude_none=True)),
        }
        for device_id, event in events
        if not isinstance(event.body, BlobOffer)
    ]
    if rows:
        _ADD.execute(session, rows)
        told = (event.body for _, event in events if not isinstance(event.body, BlobOffer))
        announce_events(session, [(body.kind, _severity(body)) for body in told])


_AMONG: Final = bindparam("ids", type_=String())
_KNOWN: Final = Query(select_columns(col(EventRow.event_id)).where(is_among(col(EventRow.event_id), _AMONG)))
_ROLLOUTS: Final = Query(
    select_columns(col(Deployment.id), col(Deployment.rollout_id)).where(is_among(col(Deployment.id), _AMONG))
)
_COLUMNS: Final = (
    "event_id", "at", "received_at", "device_id", "kind", "subject", "severity", "message", "body",
)  # fmt: skip
_ADD: Final = Bulk(insert(EventRow).values({name: bindparam(name) for name in _COLUMNS}))


def _severity(body: EventBody) -> Severity:
    if isinstance(body, DeploymentEvent):
        return "error" if body.step == "fail" else "warning" if body.step == "roll_back" else "info"
    is_fine = isinstance(body, BlobOffer | EncryptionKeyReplaced) or (
        isinstance(body, RoundResult) and body.outcome == "trained"
    )
    if isinstance(body, BatchResult | BenchmarkResult):
        is_fine = body.outcome == "done"
    return "info" if is_fine else "warning"


def _sentence(device_id: str, body: EventBody) -> str:
    match body:
        case DeploymentEvent():
            problem = f": {body.problem.message}" if body.problem else ""
            return f"{device_id}: {body.model} version {body.version}: {', '.join(body.steps)}{problem}"
        case RoundResult() | BatchResult() | BenchmarkResult():
            return f"{device_id}: {_ended(body)}"
        case MissingArtifact():
            return f"{device_id} does not find artifact {body.sha256[:12]}: {body.detail or 'silence'}"
        case EncryptionKeyReplaced():
            return f"{device_id} has the encryption key {body.encryption_key[:12]}"
        case LoadShed():
            why = "is too hot" if body.reason == "hot" else "is short of memory"
            return f"{device_id} {why} and refuses requests to {', '.join(body.models) or 'no model yet'}"
        case BlobOffer():
            return f"{device_id} offers {body.size_bytes} bytes ({body.purpose}, {body.sha256[:12]})"


def _ended(body: RoundResult | BatchResult | BenchmarkResult) -> str:
    if isinstance(body, RoundResult):
        return f"round {body.round} of {body.run}: {body.outcome}"
    problem = f": {body.problem.message}" if body.problem else ""
    if isinstance(body, BenchmarkResult):
        return f"benchmark {body.benchmark}: {body.outcome}, {len(body.measured)} candidates measured{problem}"
    return f"batch job {body.batch}: {body.outcome}, {body.answered} rows answered{problem}"
