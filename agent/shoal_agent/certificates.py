"""Certificates that come from elsewhere, read such that one of no known version is an error like any other.

`cryptography` raises `InvalidVersion` for it, which is no `ValueError`; whoever catches only the latter would end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509


def parse_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, at least one.

    Raises:
        ValueError: There is none in it, or one that is damaged or of no known version.
    """
    from cryptography import x509  # 1 MB, only where a certificate is looked into

    try:
        return x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def parse_der_certificate(der: bytes) -> x509.Certificate:
    """Return the certificate of a handshake.

    Raises:
        ValueError: It is damaged or of no known version.
    """
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error
