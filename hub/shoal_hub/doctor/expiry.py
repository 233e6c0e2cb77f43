"""What expires: certificates, and the metadata of the update framework."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from shoal_hub.doctor.check import Found, Patient, check, fail, ok, some, warn
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.status import read_status

_SOON: Final = timedelta(days=30)


@check("certificates")
def certificates(patient: Patient) -> Found:
    """No certificate of the authorities and servers has expired or is about to."""
    ends = [(path.name, _end_of(path)) for path in sorted((patient.settings.data / "trust").glob("*.pem"))]
    return _judge(
        [(name, at) for name, at in ends if at is not None],
        patient.now,
        "restart the hub: it renews what it issued; a CA that ends is rolled over, see the guide to keys",
    )


@check("update metadata")
def metadata(patient: Patient) -> Found:
    """The update framework's metadata is renewed in time, nothing waits, and the offline keys are offline."""
    remedy = "see `shoal trust status`, and the guide to keys for how each is mended"
    with patient.database.session() as session:
        status = read_status(session, HubTrust.open(patient.settings), patient.now)
    if status.warnings:
        return warn(some(status.warnings), remedy)
    return ok(f"{len(status.roles)} roles, director {status.director_epoch}")


def _end_of(path: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except ValueError:
        return None


def _judge(ends: list[tuple[str, datetime]], now: datetime, remedy: str) -> Found:
    over = [f"{one} ended {at:%Y-%m-%d}" for one, at in ends if at <= now]
    soon = [f"{one} ends {at:%Y-%m-%d}" for one, at in ends if now < at <= now + _SOON]
    if over:
        return fail(some(over), remedy)
    if soon:
        return warn(some(soon), remedy)
    first = min((at for _, at in ends), default=None)
    return ok(f"{len(ends)}, the first ends {first:%Y-%m-%d}" if first else "there are none")
