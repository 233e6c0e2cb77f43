"""What expires: certificates, and the metadata of the update framework."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from shoal_hub.doctor.check import Finding, Patient, fail, ok, some, warn
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.status import read_status

_SOON: Final = timedelta(days=30)


def certificates(patient: Patient) -> Finding:
    """No certificate of the authorities and servers has expired or is about to."""
    ends = [(path.name, _end_of(path)) for path in sorted((patient.settings.data / "trust").glob("*.pem"))]
    return _judge(
        "certificates",
        [(name, at) for name, at in ends if at is not None],
        patient.now,
        "restart the hub: it renews what it issued; a CA that ends is rolled over, see the guide to keys",
    )


def metadata(patient: Patient) -> Finding:
    """The update framework's metadata is renewed in time, nothing waits, and the offline keys are offline."""
    name, remedy = "update metadata", "see `shoal trust status`, and the guide to keys for how each is mended"
    with patient.database.session() as session:
        status = read_status(session, HubTrust.open(patient.settings), patient.now)
    if status.warnings:
        return warn(name, some(status.warnings), remedy)
    return ok(name, f"{len(status.roles)} roles, director {status.director_epoch}")


def _end_of(path: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except ValueError:
        return None


def _judge(name: str, ends: list[tuple[str, datetime]], now: datetime, remedy: str) -> Finding:
    over = [f"{one} ended {at:%Y-%m-%d}" for one, at in ends if at <= now]
    soon = [f"{one} ends {at:%Y-%m-%d}" for one, at in ends if now < at <= now + _SOON]
    if over:
        return fail(name, some(over), remedy)
    if soon:
        return warn(name, some(soon), remedy)
    first = min((at for _, at in ends), default=None)
    return ok(name, f"{len(ends)}, the first ends {first:%Y-%m-%d}" if first else "there are none")
