"""One CA takes the place of another: who trusts only the old one still knows the hub, and a crash leaves a whole CA."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.ids import new_device_id
from shoal_hub.errors import ConflictError
from shoal_hub.trust.ca import DeviceAuthority, Identity
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.generations import Generations, Standing


def speaks_tls(identity: Identity, ca_pem: str) -> bool:
    """Whether a client that trusts `ca_pem` alone, by the letter of RFC 5280, takes this server for localhost."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(identity.certificate, identity.key)
    asking = ssl.create_default_context(cadata=ca_pem)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(ours, server_side=True).close()
        except OSError:
            ours.close()  # refused by the client

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(theirs, server_hostname="localhost"):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        theirs.close()
        thread.join()


def step(authority: DeviceAuthority) -> None:
    authority.announce()
    authority.switch()
    authority.finish()


def issued(authority: DeviceAuthority) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return authority.issue(csr, new_device_id())


def certificates(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


def test_a_device_that_slept_through_two_changes_still_knows_its_hub(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    first = authority.certificate_pem
    step(authority)
    step(authority)
    server = authority.issue_server(["localhost"])
    assert speaks_tls(server, first)
    assert speaks_tls(server, authority.certificate_pem)
    assert authority.certificate_pem != first


def test_nobody_takes_a_server_of_another_hubs_ca(tmp_path: Path) -> None:
    authority, other = DeviceAuthority.open(tmp_path / "hub"), DeviceAuthority.open(tmp_path / "other")
    step(other)
    assert not speaks_tls(other.issue_server(["localhost"]), authority.certificate_pem)


def test_who_trusts_the_new_ca_takes_nothing_by_the_old_one(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    old_server = authority.issue_server(["localhost"], "old")
    step(authority)
    assert not speaks_tls(old_server, authority.certificate_pem)


def test_announced_is_trusted_but_does_not_sign(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    (old,) = certificates(authority.certificate_pem)
    authority.announce()
    first, second = certificates(authority.certificate_pem)
    assert first == old
    issued(authority).verify_directly_issued_by(old)
    authority.switch()
    assert certificates(authority.certificate_pem) == [second, first]
    issued(authority).verify_directly_issued_by(second)


def test_the_server_certificate_changes_with_the_switch_and_not_before(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    before = authority.issue_server(["localhost"]).certificate.read_bytes()
    authority.announce()
    assert authority.issue_server(["localhost"]).certificate.read_bytes() == before
    authority.switch()
    assert authority.issue_server(["localhost"]).certificate.read_bytes() != before


def test_the_old_key_is_deleted_at_the_end_and_every_key_is_private(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    authority.announce()
    authority.switch()
    assert {path.name for path in tmp_path.glob("ca-*.key")} == {"ca-1.key", "ca-2.key"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("ca*")} == {0o600}
    authority.finish()
    assert {path.name for path in tmp_path.glob("ca-*.key")} == {"ca-2.key"}
    assert DeviceAuthority.open(tmp_path).fingerprint == authority.fingerprint


@pytest.mark.parametrize(("done", "wrong"), [([], "switch"), ([], "finish"), (["announce"], "announce"),
                                             (["announce"], "finish"), (["announce", "switch"], "announce"),
                                             (["announce", "switch"], "switch")])  # fmt: skip
def test_a_step_out_of_order_is_refused_and_changes_nothing(tmp_path: Path, done: list[str], wrong: str) -> None:
    authority = DeviceAuthority.open(tmp_path)
    for name in done:
        getattr(authority, name)()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConflictError, match="was expected"):
        getattr(authority, wrong)()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_process_signs_by_the_new_ca_once_one_has_switched(tmp_path: Path) -> None:
    api, supervisor = DeviceAuthority.open(tmp_path), DeviceAuthority.open(tmp_path)
    api.announce()
    assert supervisor.standing.phase == "announced"
    api.switch()
    assert supervisor.fingerprint == api.fingerprint
    assert supervisor.certificate_pem == api.certificate_pem


def test_a_crash_before_the_bundle_is_written_is_mended_by_the_next_start(tmp_path: Path) -> None:
    authority = DeviceAuthority.open(tmp_path)
    before = authority.certificate_path.read_text()
    authority.announce()
    authority.certificate_path.write_text(before)
    assert len(certificates(DeviceAuthority.open(tmp_path).certificate_path.read_text())) == 2


def test_a_crash_before_the_new_ca_is_in_force_leaves_the_old_one_and_it_can_be_announced_again(tmp_path: Path) -> None:
    before = DeviceAuthority.open(tmp_path).fingerprint
    Generations(tmp_path).make(2)
    authority = DeviceAuthority.open(tmp_path)
    assert (authority.fingerprint, authority.standing) == (before, Standing())
    step(authority)
    assert authority.fingerprint != before


def test_a_damaged_standing_is_said_so(tmp_path: Path) -> None:
    DeviceAuthority.open(tmp_path)
    (tmp_path / "ca.json").write_text("{")
    with pytest.raises(TrustError, match=r"ca\.json"):
        DeviceAuthority.open(tmp_path)
