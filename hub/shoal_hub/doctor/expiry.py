"""What expires: certificates, and the metadata of the update framework."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from shoal_hub.doctor.check import Finding, Patient, fail, ok, some, warn

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
    """No metadata of the update framework has expired or is about to, for its kind."""
    ends = []
    for path in sorted((patient.settings.data / "trust").rglob("*.json")):
        signed = json.loads(path.read_bytes()).get("signed", {})
        # Roots are kept for ever and expire one after the other; timestamps live for hours by design.
        if "expires" in signed and signed.get("_type") not in {"root", "timestamp"}:
            ends.append((path.name, datetime.fromisoformat(signed["expires"])))
    return _judge("update metadata", ends, patient.now, "see that the controller runs, and sign what is signed offline")


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
