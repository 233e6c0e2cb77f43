"""Builds X.509 certificates (RFC 5280) for authorities, servers and clients. No files."""

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE: Final = timedelta(days=20 * 365)
LEAF_LIFE: Final = timedelta(days=365)
_BACKDATE: Final = timedelta(days=1)
"""A device's clock may be behind: certificates are valid from a day before they were made."""


def common_name(name: str) -> x509.Name:
    """Return a subject with a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def make_authority(name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Make a self-signed certificate that may sign leaves and nothing below them."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_client(
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: timedelta = LEAF_LIFE,
) -> x509.Certificate:
    """Make a certificate that is good for a TLS client only, with `name` as its common name."""
    builder = _leaf(name, public_key, issuer, life).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
    )
    return builder.sign(issuer_key, hashes.SHA256())


def make_server(
    hosts: Sequence[str],
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Make a certificate that is good for a TLS server only, for names and addresses."""
    builder = (
        _leaf("shoal-hub", public_key, issuer)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def make_revocation_list(
    revoked: Mapping[int, datetime],
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    last_update: datetime,
    next_update: datetime,
) -> x509.CertificateRevocationList:
    """Make a version 2 CRL (RFC 5280, section 5) that names serial numbers, each with the time of its revocation."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(last_update)
        .next_update(next_update)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_id(issuer)), critical=False)
        .add_extension(x509.CRLNumber(int(last_update.timestamp())), critical=False)
    )
    for serial in sorted(revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked[serial])
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer_key, hashes.SHA256())


def server_hosts(certificate: x509.Certificate) -> set[str]:
    """Return the names and addresses that a server certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def _key_id(issuer: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _leaf(
    name: str, public_key: ec.EllipticCurvePublicKey, issuer: x509.Certificate, life: timedelta = LEAF_LIFE
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_id(issuer)), critical=False)
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
