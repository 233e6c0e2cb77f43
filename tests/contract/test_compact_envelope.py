"""The compact envelope: what the device's key has signed for this channel, whole, and nothing else."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.compact_envelope import MARK, is_compact, sign_compact, verify_compact
from shoal_contract.device_signature import device_key_id, sign_up
from shoal_contract.errors import EnvelopeError
from shoal_contract.limits import MAX_SIGNED_REPORT_BYTES

KEY, OTHER = ec.derive_private_key(3, ec.SECP256R1()), ec.derive_private_key(4, ec.SECP256R1())
KEY_ID = device_key_id(KEY.public_key())
KEYS = {KEY_ID: KEY.public_key()}
SEALED = sign_compact(b"packed", "windows", KEY, KEY_ID)


@given(st.binary(min_size=1, max_size=300))
def test_what_was_signed_comes_out_with_the_key_that_signed_it(packed: bytes) -> None:
    sealed = sign_compact(packed, "telemetry", KEY, KEY_ID)
    assert is_compact(sealed)
    assert verify_compact(sealed, "telemetry", KEYS) == (packed, KEY_ID)
    assert len(sealed) <= len(packed) + 1 + 32 + 1 + 72


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_byte_may_be_another(place: int, change: int) -> None:
    changed = SEALED[:place] + bytes([SEALED[place] ^ change]) + SEALED[place + 1 :]
    with pytest.raises(EnvelopeError):
        verify_compact(changed, "windows", KEYS)


@given(st.integers(0, len(SEALED) - 1))
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(EnvelopeError):
        verify_compact(SEALED[:length], "windows", KEYS)


def test_another_channel_another_key_or_what_is_too_large_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="no valid signature"):
        verify_compact(SEALED, "telemetry", KEYS)
    with pytest.raises(EnvelopeError, match="no valid signature"):
        verify_compact(SEALED, "windows", {device_key_id(OTHER.public_key()): OTHER.public_key()})
    with pytest.raises(EnvelopeError, match="no valid signature"):
        verify_compact(sign_compact(b"packed", "windows", OTHER, KEY_ID), "windows", KEYS)
    with pytest.raises(EnvelopeError, match="at most"):
        verify_compact(SEALED + b"x" * MAX_SIGNED_REPORT_BYTES, "windows", KEYS)


def test_json_is_not_taken_for_it_nor_it_for_json() -> None:
    assert not is_compact(sign_up(b"{}", "windows", KEY, KEY_ID))
    assert not MARK.startswith(b"{")
