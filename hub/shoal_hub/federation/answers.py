"""Takes in what devices say of rounds, and decides which update blobs may be uploaded."""

from datetime import datetime

from sqlmodel import Session, col, select

from shoal_contract.desired import DesiredRound
from shoal_contract.telemetry import BlobOffer, RoundResult
from shoal_hub.database import announce
from shoal_hub.devices.compose import FEDERATED
from shoal_hub.devices.tables import Intent
from shoal_hub.events.record import record_event
from shoal_hub.federation.tables import FederatedRun, RoundAnswer


def take_result(session: Session, device_id: str, result: RoundResult, now: datetime) -> None:
    """Keep a device's answer, if its run waits for it; a late, repeated or uninvited one is dropped with an event."""
    run = session.get(FederatedRun, result.run)
    key = (result.run, result.round, device_id)
    if run is None or device_id not in run.devices or not 1 <= result.round <= run.rounds:
        message = f"{device_id} answered round {result.round} of {result.run}, which did not ask it"
        record_event(session, "round_uninvited", message, device_id=device_id, severity="warning")
        return
    if session.get(RoundAnswer, key) is not None:
        return
    fields = result.model_dump(mode="json", exclude={"kind"})
    session.add(RoundAnswer(**fields, device_id=device_id, received_at=now))
    record_event(
        session,
        "round_answered",
        _sentence(device_id, result),
        subject=f"federated/{result.run}",
        device_id=device_id,
        severity="info" if result.outcome == "trained" else "warning",
    )
    announce(session, "federated")


def refusal_of(session: Session, device_id: str, offer: BlobOffer) -> str:
    """Return why a device may not upload a blob, or nothing if it may: some round must want an update of that size."""
    wanted = select(Intent).where(Intent.device_id == device_id, col(Intent.section).startswith(FEDERATED))
    bounds = [DesiredRound.model_validate(row.body).max_update_bytes for row in session.exec(wanted)]
    if not bounds:
        return "no federated round is open for this device"
    if offer.size_bytes > max(bounds):
        return f"{offer.size_bytes} bytes offered, the round takes at most {max(bounds)}"
    return ""


def _sentence(device_id: str, result: RoundResult) -> str:
    if result.outcome == "trained":
        return f"{device_id} trained round {result.round} of {result.run} on {result.examples} examples"
    reason = result.problem.message if result.problem else "no reason given"
    return f"{device_id} {result.outcome} round {result.round} of {result.run}: {reason}"
