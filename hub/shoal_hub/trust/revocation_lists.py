"""The revocation lists of all device authorities as one PEM file, signed again only when they would say something else.

OpenSSL, and with it every broker, refuses *all* clients once a list has expired, and where an authority that it trusts
has none. So each authority has a list, also an empty one, and a list holds for ten years and is renewed at half of
that: nobody but the broker beside the hub reads it, and a hub that is down for long must not lock its fleet out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shoal_hub.trust.ca import DeviceAuthority

LIFE: Final = timedelta(days=3650)
_BACKDATE: Final = timedelta(days=1)
"""A list that is not valid yet locks out everybody too, and the broker's clock may be another machine's."""
_SECOND: Final = timedelta(seconds=1)
_BEGIN: Final = b"-----BEGIN X509 CRL-----"


def revocation_lists(
    authorities: Sequence[DeviceAuthority], revoked: Mapping[int, datetime], before: bytes, now: datetime
) -> bytes:
    """Return one list an authority, PEM.

    Args:
        authorities: Every authority whose certificates the broker takes.
        revoked: Serial numbers with the time of their revocation, whichever authority issued them: they are random.
        before: The file as it stands, empty or damaged at worst; what still holds in it is kept byte for byte.
        now: The clock.
    """
    known = _read(before)
    return b"".join(_list_of(authority, revoked, known, now).public_bytes(Encoding.PEM) for authority in authorities)


def _list_of(
    authority: DeviceAuthority,
    revoked: Mapping[int, datetime],
    known: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> x509.CertificateRevocationList:
    previous = next((one for one in known if authority.has_signed(one)), None)
    if previous is not None and _says(previous, revoked, now):
        return previous
    last_update = now - _BACKDATE
    if previous is not None:
        # Of two lists that it knows, OpenSSL believes the later one, and compares whole seconds.
        last_update = max(last_update, previous.last_update_utc + _SECOND)
    return authority.sign_revocations(revoked, last_update, now + LIFE)


def _says(one: x509.CertificateRevocationList, revoked: Mapping[int, datetime], now: datetime) -> bool:
    is_fresh = one.next_update_utc is not None and one.next_update_utc - now > LIFE / 2
    return is_fresh and {entry.serial_number for entry in one} == set(revoked)


def _read(pem: bytes) -> list[x509.CertificateRevocationList]:
    parts = [_BEGIN + part for part in pem.split(_BEGIN)[1:]]
    try:
        return [x509.load_pem_x509_crl(part) for part in parts]
    except ValueError:
        return []  # damaged: all of it is signed again
