"""Envelopes: what a trusted key did not sign, as it stands, never comes out of `verify`."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.golden_messages import DIRECTOR

from shoal_contract import envelope
from shoal_contract.envelope import DESIRED_STATE_TYPE, RENEWAL_TYPE, Verified, named_keys, sign, verify
from shoal_contract.errors import EnvelopeError
from shoal_contract.limits import MAX_ENVELOPE_BYTES

KEYS = {"director-1": DIRECTOR.public_key()}
PAYLOAD = b'{"schema_version":1,"device_id":"d-abcdefgh234567ab","generation":7}'
SIGNED = sign(PAYLOAD, DESIRED_STATE_TYPE, DIRECTOR, "director-1")


def _verify(data: bytes) -> Verified:
    return verify(data, DESIRED_STATE_TYPE, KEYS, MAX_ENVELOPE_BYTES)


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(SIGNED)
    change(document)
    return json.dumps(document).encode()


@given(st.binary(max_size=500))
def test_what_is_signed_comes_out_unchanged(payload: bytes) -> None:
    assert _verify(sign(payload, DESIRED_STATE_TYPE, DIRECTOR, "director-1")) == Verified(payload, "director-1")


@pytest.mark.parametrize(("kind", "key_id"), [("x" * 129, "director-1"), (DESIRED_STATE_TYPE, "d" * 129)])
def test_nothing_is_signed_under_a_name_that_every_reader_refuses(kind: str, key_id: str) -> None:
    with pytest.raises(ValueError, match="at most 128 characters"):
        sign(b"{}", kind, DIRECTOR, key_id)


def test_the_bytes_that_are_signed_are_those_of_the_specification() -> None:
    """The example of the DSSE protocol, v1.0."""
    encoded = envelope._pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_any_flipped_bit_anywhere_in_the_envelope_is_refused() -> None:
    """Except where JSON itself does not care: the result is then the very payload that was signed."""
    signed_parts = [json.loads(SIGNED)["payload"], json.loads(SIGNED)["signatures"][0]["sig"], DESIRED_STATE_TYPE]
    inside = {
        start + offset
        for part in signed_parts
        for start in [SIGNED.index(part.encode())]
        for offset in range(len(part))
    }
    for position in range(len(SIGNED)):
        for bit in range(8):
            flipped = bytearray(SIGNED)
            flipped[position] ^= 1 << bit
            try:
                verified = _verify(bytes(flipped))
            except EnvelopeError:
                continue
            assert verified.payload == PAYLOAD
            assert position not in inside, f"byte {position} of {SIGNED!r} may be flipped"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_an_envelope_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        _verify(data)


@given(
    st.fixed_dictionaries(
        {
            "payload": st.text(max_size=12),
            "payloadType": st.sampled_from([DESIRED_STATE_TYPE, "", "\x7f"]),
            "signatures": st.lists(
                st.fixed_dictionaries(
                    {"keyid": st.sampled_from(["director-1", "x"]), "sig": st.text(max_size=100) | st.just("AAAA")}
                ),
                max_size=10,
            ),
        }
    )
)
def test_envelopes_of_the_right_form_without_a_signature_raise_nothing_but_an_envelope_error(
    document: dict[str, Any],
) -> None:
    with pytest.raises(EnvelopeError):
        _verify(json.dumps(document).encode())


def test_a_renewal_cannot_be_passed_off_as_a_desired_state() -> None:
    signed = sign(PAYLOAD, RENEWAL_TYPE, DIRECTOR, "director-1")
    with pytest.raises(EnvelopeError, match=r"renewal\+json' found, .*desired-state\+json' expected"):
        _verify(signed)
    relabelled = signed.replace(RENEWAL_TYPE.encode(), DESIRED_STATE_TYPE.encode())
    with pytest.raises(EnvelopeError, match="no valid signature"):
        _verify(relabelled)


def test_a_signature_by_another_key_under_the_trusted_key_s_name_is_refused() -> None:
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(EnvelopeError, match=r"no valid signature by a trusted key \(signed by director-1; trusted"):
        _verify(sign(PAYLOAD, DESIRED_STATE_TYPE, stranger, "director-1"))


def test_a_key_that_is_not_trusted_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="signed by director-2; trusted: director-1"):
        _verify(sign(PAYLOAD, DESIRED_STATE_TYPE, DIRECTOR, "director-2"))
    with pytest.raises(EnvelopeError):
        verify(SIGNED, DESIRED_STATE_TYPE, {}, MAX_ENVELOPE_BYTES)


def test_one_trusted_signature_among_strangers_is_enough() -> None:
    def add_strangers(document: dict[str, Any]) -> None:
        document["signatures"].insert(0, {"keyid": "director-1", "sig": base64.b64encode(bytes(64)).decode()})
        document["signatures"].insert(0, {"keyid": "stranger", "sig": "AAAA"})

    assert _verify(_changed(add_strangers)).payload == PAYLOAD


def test_signatures_of_one_envelope_do_not_hold_for_another() -> None:
    other = json.loads(sign(b'{"generation":8}', DESIRED_STATE_TYPE, DIRECTOR, "director-1"))
    with pytest.raises(EnvelopeError, match="no valid signature"):
        _verify(_changed(lambda document: document.update(signatures=other["signatures"])))


@pytest.mark.parametrize("signatures", [[], [{"keyid": "director-1", "sig": "AAAA"}] * 9])
def test_none_and_too_many_signatures_are_refused(signatures: list[dict[str, str]]) -> None:
    with pytest.raises(EnvelopeError, match="not a DSSE envelope"):
        _verify(_changed(lambda document: document.update(signatures=signatures)))


@pytest.mark.parametrize("tail", ["=", "\n", " ", "A", "====", "=A=="])
def test_base64_that_python_versions_read_differently_is_refused(tail: str) -> None:
    with pytest.raises(EnvelopeError, match=r"base64|not a DSSE envelope"):
        _verify(_changed(lambda document: document.update(payload=document["payload"] + tail)))


def test_an_envelope_over_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(EnvelopeError, match=f"{len(SIGNED)} bytes found, at most {len(SIGNED) - 1} allowed"):
        verify(SIGNED, DESIRED_STATE_TYPE, KEYS, len(SIGNED) - 1)
    assert verify(SIGNED, DESIRED_STATE_TYPE, KEYS, len(SIGNED)).payload == PAYLOAD


def test_unknown_fields_of_an_envelope_are_tolerated() -> None:
    assert _verify(_changed(lambda document: document.update(extra={"note": 1}))).payload == PAYLOAD


def test_an_envelope_names_its_keys_before_anything_is_believed() -> None:
    assert named_keys(sign(PAYLOAD, DESIRED_STATE_TYPE, DIRECTOR, "director-7"), 10_000) == ("director-7",)
    with pytest.raises(EnvelopeError, match="not a DSSE envelope"):
        named_keys(b"{}", 10_000)
