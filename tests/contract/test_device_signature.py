"""What a device says, signed: another channel, another device or another byte is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.device_signature import PAYLOAD_TYPES, SignedChannel, device_key_id, sign_up, verify_up
from shoal_contract.errors import EnvelopeError
from shoal_contract.limits import MAX_SIGNED_REPORT_BYTES

KEY = ec.derive_private_key(7, ec.SECP256R1())
KEY_ID = device_key_id(KEY.public_key())
KEYS = {KEY_ID: KEY.public_key()}


@given(st.binary(max_size=200), st.sampled_from(sorted(PAYLOAD_TYPES)))
def test_what_a_device_signs_comes_out_with_the_key_that_signed(payload: bytes, channel: SignedChannel) -> None:
    assert verify_up(sign_up(payload, channel, KEY, KEY_ID), channel, KEYS) == (payload, KEY_ID)


def test_an_event_is_not_taken_for_a_reported_state() -> None:
    with pytest.raises(EnvelopeError, match=r"type 'application/vnd\.shoal\.event\+json' found"):
        verify_up(sign_up(b"{}", "event", KEY, KEY_ID), "reported", KEYS)


def test_another_device_s_signature_is_refused_also_under_this_device_s_key_id() -> None:
    other = ec.derive_private_key(8, ec.SECP256R1())
    for key_id in (KEY_ID, device_key_id(other.public_key())):
        with pytest.raises(EnvelopeError, match="no valid signature"):
            verify_up(sign_up(b"{}", "event", other, key_id), "event", KEYS)


def test_a_message_beyond_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(EnvelopeError, match="at most"):
        verify_up(b" " * (MAX_SIGNED_REPORT_BYTES + 1), "event", KEYS)
