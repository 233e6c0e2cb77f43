"""A certificate that says it is of a version that there is not: `cryptography` has an error of its own for it."""

import base64
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shoal_agent.certificates import parse_certificates, parse_der_certificate
from shoal_agent.errors import DiskError
from shoal_agent.identity import read_certificate
from shoal_agent.site.peers import device_of
from shoal_agent.tls import _check_expiry
from shoal_agent.tuf.ca_bundle import CaBundle
from shoal_agent.tuf.errors import TufError
from shoal_contract.ids import sha256_hex

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


def _self_signed() -> x509.Certificate:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    return builder.sign(key, SHA256())


GOOD = _self_signed()
DER = GOOD.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)
PEM = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(DER) + b"-----END CERTIFICATE-----\n"


def test_a_version_that_there_is_not_is_a_value_error_like_any_other_damage() -> None:
    assert parse_certificates(GOOD.public_bytes(Encoding.PEM)) == [GOOD]
    with pytest.raises(ValueError, match="not a valid X509 version"):
        parse_certificates(PEM)
    with pytest.raises(ValueError, match="not a valid X509 version"):
        parse_der_certificate(DER)


def _on_disk(folder: Path) -> None:
    (folder / "device.pem").write_bytes(PEM)
    read_certificate(folder / "device.pem")


def _as_bundle(folder: Path) -> None:
    (folder / "fetched").write_bytes(PEM)
    CaBundle(folder / "ca.pem").replace_by(folder / "fetched", sha256_hex(PEM))


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (_on_disk, DiskError),
        (_as_bundle, TufError),
        (lambda _: device_of(DER, GOOD.public_bytes(Encoding.PEM), NOW), ssl.SSLCertVerificationError),
        (lambda _: _check_expiry(DER, NOW), ssl.SSLCertVerificationError),
    ],
    ids=["own", "bundle", "neighbour", "server"],
)
def test_wherever_it_comes_from_it_is_that_place_s_own_error(
    read: Callable[[Path], object], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        read(tmp_path)
