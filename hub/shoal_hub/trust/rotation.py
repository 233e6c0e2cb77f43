"""The change of the devices' CA in three steps: announce, switch, finish. Who still depends on the old one is counted.

Devices learn the bundle of trusted CAs from the TUF repository; putting it there is the caller's `publish`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session

from shoal_hub.audit.requests import note_outside
from shoal_hub.database import announce
from shoal_hub.devices.certificates import count_of_other_authorities
from shoal_hub.devices.enrolment_tokens import count_pinning
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.generations import Phase

_SUBJECT: Final = "trust/ca"
Publish = Callable[[Session, str], object]
"""Takes the bundle (PEM) that devices are to trust from now on."""


@dataclass(frozen=True)
class RotationStatus:
    """How far a change of the CA is.

    Attributes:
        phase: `steady`, `announced` or `switched`.
        issuing: Fingerprint of the CA that signs.
        trusted: Fingerprints of the CAs that are trusted, oldest first.
        devices_left: Devices whose certificate is by another CA than the newest.
        tokens_left: Enrolment tokens that pin another CA than the newest and can still be used.
    """

    phase: Phase
    issuing: str
    trusted: tuple[str, ...]
    devices_left: int
    tokens_left: int


def rotation_status(session: Session, authority: DeviceAuthority, now: datetime) -> RotationStatus:
    """Return how far a change of the CA is, and who still depends on the old one."""
    standing, found = authority.standing, authority.fingerprints()
    newest = found[standing.trusted[-1]]
    return RotationStatus(
        phase=standing.phase,
        issuing=found[standing.issuing],
        trusted=tuple(found.values()),
        devices_left=count_of_other_authorities(session, newest, now),
        tokens_left=sum(count_pinning(session, one, now) for one in found.values() if one != newest),
    )


def announce_ca(session: Session, authority: DeviceAuthority, publish: Publish, *, by: str) -> None:
    """Make a new CA and tell devices to trust it beside the present one.

    Raises:
        ConflictError: A change is under way.
    """
    before = _facts(authority)
    authority.announce()
    publish(session, authority.certificate_pem)
    newest = authority.fingerprints()[authority.standing.trusted[-1]]
    note_outside(session, _SUBJECT, before, _facts(authority))
    _record(session, f"a new device CA was announced by {by}: {newest}")


def switch_ca(session: Session, authority: DeviceAuthority, *, by: str) -> None:
    """Sign by the new CA: the servers' certificates at once, devices' as they renew.

    Raises:
        ConflictError: None was announced.
    """
    before = _facts(authority)
    authority.switch()
    note_outside(session, _SUBJECT, before, _facts(authority))
    _record(session, f"the hub signs by the new device CA {authority.fingerprint}, switched by {by}")


def finish_ca(
    session: Session, authority: DeviceAuthority, publish: Publish, *, by: str, is_forced: bool, now: datetime
) -> None:
    """Trust the new CA alone.

    Raises:
        ConflictError: Devices or tokens still depend on the old one, or the hub has not switched.
    """
    status = rotation_status(session, authority, now)
    if status.phase == "switched" and not is_forced and (status.devices_left or status.tokens_left):
        raise ConflictError(
            f"ending the trust in the old CA: {status.devices_left} devices have a certificate by it, and "
            f"{status.tokens_left} enrolment tokens pin it",
            "wait until they have renewed (shoal trust ca status), or force it: such a device renews over HTTPS "
            "before it reaches the broker again, such a token is of no use",
        )
    before = _facts(authority)
    authority.finish()
    publish(session, authority.certificate_pem)
    note_outside(session, _SUBJECT, before, _facts(authority))
    _record(session, f"the old device CA is trusted no more, finished by {by}; {status.devices_left} devices were left")


def _facts(authority: DeviceAuthority) -> dict[str, Any]:
    standing, found = authority.standing, authority.fingerprints()
    return {"phase": standing.phase, "issuing": found[standing.issuing], "trusted": list(found.values())}


def _record(session: Session, message: str) -> None:
    record_event(session, "ca_rotation", message, subject=_SUBJECT, severity="warning")
    announce(session, "trust")
