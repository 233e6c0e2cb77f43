"""The director's signature is what devices verify with the key they got at enrolment."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shoal_contract import envelope
from shoal_contract.errors import EnvelopeError
from shoal_hub.trust.director import Director
from shoal_hub.trust.errors import TrustError


def test_a_device_verifies_what_the_director_signed_and_nothing_else(tmp_path: Path) -> None:
    director = Director.open(tmp_path)
    keys = {director.key_id: Ed25519PublicKey.from_public_bytes(bytes.fromhex(director.public_key_hex))}
    signed = director.sign(b"payload", envelope.DESIRED_STATE_TYPE)
    assert envelope.verify(signed, envelope.DESIRED_STATE_TYPE, keys, 10_000).payload == b"payload"
    other = Director.open(tmp_path / "other").sign(b"payload", envelope.DESIRED_STATE_TYPE)
    with pytest.raises(EnvelopeError):
        envelope.verify(other, envelope.DESIRED_STATE_TYPE, keys, 10_000)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    assert Director.open(tmp_path).public_key_hex == Director.open(tmp_path).public_key_hex
    assert stat.S_IMODE((tmp_path / "director-1.key").stat().st_mode) == 0o600


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from shoal_hub.trust.ca import DeviceAuthority

    DeviceAuthority.open(tmp_path)
    (tmp_path / "ca-1.key").rename(tmp_path / "director-1.key")
    with pytest.raises(TrustError, match="Ed25519"):
        Director.open(tmp_path)
