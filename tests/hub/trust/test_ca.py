"""The authorities sign what they should, keep their files private, and are made once."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoal_contract.ids import new_device_id
from shoal_hub.trust.ca import DeviceAuthority, HubAuthority
from shoal_hub.trust.certificates import common_name
from shoal_hub.trust.errors import CertificateRequestError, TrustError
from shoal_hub.trust.files import read_certificate


def _request(subject: x509.Name | None = None, curve: ec.EllipticCurve | None = None) -> x509.CertificateSigningRequest:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    return builder.sign(key, hashes.SHA256())


def test_a_device_gets_a_client_certificate_in_the_name_the_hub_chose(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    device_id = new_device_id()
    request = _request()
    certificate = authority.issue(request, device_id)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == device_id
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.public_key() == request.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem.encode()))
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 366


def test_a_renewal_may_name_the_device_itself_but_nobody_else(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    mine, other = new_device_id(), new_device_id()
    assert authority.issue(_request(common_name(mine)), mine)
    with pytest.raises(CertificateRequestError, match=other):
        authority.issue(_request(common_name(other)), mine)


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CertificateRequestError, match="secp384r1"):
        DeviceAuthority.open(tmp_path).issue(_request(curve=ec.SECP384R1()), new_device_id())


def test_a_request_whose_signature_was_changed_is_refused(tmp_path: Path) -> None:
    data = bytearray(_request().public_bytes(Encoding.DER))
    data[-1] ^= 1
    request = x509.load_der_x509_csr(bytes(data))
    with pytest.raises(CertificateRequestError, match="signature"):
        DeviceAuthority.open(tmp_path).issue(request, new_device_id())


def test_opening_again_gives_the_same_authority_and_its_key_is_private(tmp_path: Path) -> None:
    first = DeviceAuthority.open(tmp_path)
    assert DeviceAuthority.open(tmp_path).fingerprint == first.fingerprint
    assert stat.S_IMODE((tmp_path / "ca-1.key").stat().st_mode) == 0o600


def test_openers_at_the_same_time_agree_on_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        fingerprints = set(pool.map(lambda _: HubAuthority.open(tmp_path).fingerprint, range(8)))
    assert len(fingerprints) == 1


def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    DeviceAuthority.open(tmp_path)
    (tmp_path / "ca-1.key").chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        DeviceAuthority.open(tmp_path)


def test_a_damaged_key_is_refused_with_its_path(tmp_path: Path) -> None:
    DeviceAuthority.open(tmp_path)
    (tmp_path / "ca-1.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(TrustError, match=r"ca-1\.key"):
        DeviceAuthority.open(tmp_path)


def test_a_server_certificate_names_hosts_and_addresses_and_is_kept_until_they_change(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    first = read_certificate(authority.issue_server(["localhost", "127.0.0.1"]).certificate)
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert read_certificate(authority.issue_server(["127.0.0.1", "localhost"]).certificate) == first
    assert read_certificate(authority.issue_server(["hub.example"]).certificate) != first


def test_a_server_certificate_cannot_be_used_as_a_client(tmp_path: Path) -> None:
    certificate = read_certificate(DeviceAuthority.open(tmp_path).issue_server(["localhost"]).certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_hub_connection_keeps_its_identity_between_starts(tmp_path: Path) -> None:
    first = HubAuthority.open(tmp_path).connection("hub-api").certificate.read_bytes()
    assert HubAuthority.open(tmp_path).connection("hub-api").certificate.read_bytes() == first
