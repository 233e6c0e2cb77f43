"""Revocation lists: one an authority, signed again only to say something else, and never expired before the hub is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.revocation_lists import LIFE, revocation_lists

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REVOKED = {2**159 - 1: NOW, 5: NOW - timedelta(days=1)}


@pytest.fixture
def authority(tmp_path: Path) -> DeviceAuthority:
    return DeviceAuthority.open(tmp_path / "one")


def read(pem: bytes) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(pem)


def serials(pem: bytes) -> set[int]:
    return {entry.serial_number for entry in read(pem)}


def test_a_list_names_the_serials_and_is_signed_by_its_authority(authority: DeviceAuthority) -> None:
    pem = revocation_lists([authority], REVOKED, b"", NOW)
    assert serials(pem) == set(REVOKED)
    assert authority.has_signed(read(pem))


def test_a_list_that_says_the_same_is_kept_byte_for_byte(authority: DeviceAuthority) -> None:
    pem = revocation_lists([authority], REVOKED, b"", NOW)
    assert revocation_lists([authority], dict(reversed(REVOKED.items())), pem, NOW + timedelta(days=30)) == pem


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=-300)])
def test_a_new_list_is_the_later_one_even_within_a_second_or_on_a_clock_that_was_set_back(
    authority: DeviceAuthority, later: timedelta
) -> None:
    first = revocation_lists([authority], {}, b"", NOW)
    second = revocation_lists([authority], REVOKED, first, NOW + later)
    assert read(second).last_update_utc > read(first).last_update_utc


def test_a_list_is_valid_at_once_on_a_clock_that_is_behind_and_for_years_without_a_hub(
    authority: DeviceAuthority,
) -> None:
    one = read(revocation_lists([authority], {}, b"", NOW))
    assert one.last_update_utc < NOW - timedelta(hours=12)
    assert one.next_update_utc == NOW + LIFE


def test_a_list_is_renewed_at_half_of_its_life(authority: DeviceAuthority) -> None:
    first = revocation_lists([authority], REVOKED, b"", NOW)
    assert revocation_lists([authority], REVOKED, first, NOW + LIFE / 2 - timedelta(days=1)) == first
    assert revocation_lists([authority], REVOKED, first, NOW + LIFE / 2 + timedelta(days=1)) != first


def test_every_authority_has_a_list_and_one_that_goes_takes_its_own_along(
    authority: DeviceAuthority, tmp_path: Path
) -> None:
    next_one = DeviceAuthority.open(tmp_path / "two")
    both = revocation_lists([authority, next_one], REVOKED, revocation_lists([authority], REVOKED, b"", NOW), NOW)
    assert both.startswith(revocation_lists([authority], REVOKED, both, NOW))
    alone = revocation_lists([next_one], REVOKED, both, NOW)
    assert next_one.has_signed(read(alone))
    assert both.endswith(alone)


@pytest.mark.parametrize("damaged", [b"nonsense", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_a_damaged_file_is_written_anew(authority: DeviceAuthority, damaged: bytes) -> None:
    assert serials(revocation_lists([authority], REVOKED, damaged, NOW)) == set(REVOKED)


def test_a_list_that_somebody_else_signed_is_not_kept(authority: DeviceAuthority, tmp_path: Path) -> None:
    forged = revocation_lists([DeviceAuthority.open(tmp_path / "other")], {}, b"", NOW)
    assert authority.has_signed(read(revocation_lists([authority], {}, forged, NOW)))
