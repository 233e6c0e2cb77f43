"""Takes in what devices say of rounds, and decides which update blobs may be uploaded."""

from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_contract.desired import DesiredRound
from shoal_contract.telemetry import BlobOffer, RoundResult
from shoal_hub.database import announce
from shoal_hub.devices.compose import FEDERATED
from shoal_hub.devices.revocation import revoked_among
from shoal_hub.devices.tables import Intent
from shoal_hub.events.record import record_event
from shoal_hub.federation.tables import FederatedRun, RoundAnswer
from shoal_hub.transfer.tables import Upload

MAX_UPLOADS_A_ROUND: Final = 4
"""A device has one update for a round; a power cut while it trains can bring another."""


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
    if revoked_among(session, [device_id]):
        return "the device was revoked"
    wanted = select(Intent).where(Intent.device_id == device_id, col(Intent.section).startswith(FEDERATED))
    rounds = session.exec(wanted).all()
    if not rounds:
        return "no federated round is open for this device"
    bound = max(DesiredRound.model_validate(row.body).max_update_bytes for row in rounds)
    if offer.size_bytes > bound:
        return f"{offer.size_bytes} bytes offered, the round takes at most {bound}"
    taken = select(Upload.sha256).where(
        Upload.device_id == device_id,
        Upload.purpose == offer.purpose,
        Upload.sha256 != offer.sha256,
        Upload.state != "refused",
        col(Upload.changed_at) >= min(row.created_at for row in rounds),
    )
    most = MAX_UPLOADS_A_ROUND * len(rounds)
    if len(session.exec(taken.limit(most)).all()) >= most:
        return f"{most} other blobs came in this round already, one is expected"
    return ""


def _sentence(device_id: str, result: RoundResult) -> str:
    if result.outcome == "trained":
        return f"{device_id} trained round {result.round} of {result.run} on {result.examples} examples"
    reason = result.problem.message if result.problem else "no reason given"
    return f"{device_id} {result.outcome} round {result.round} of {result.run}: {reason}"
