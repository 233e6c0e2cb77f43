"""Enrolment: tokens as people pass them on, and the messages around them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.golden_messages import MESSAGES

from shoal_contract.enrolment import EnrolmentRequest, EnrolmentResponse, parse_token
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.wire import parse_message

FINGERPRINT = "0123456789abcdef" * 4
SECRET = "abcdefghijklmnopqrstuvwxyz-_0123456789"
TOKEN = f"shoal1.{FINGERPRINT}.{SECRET}"


@given(st.from_regex(r"[A-Za-z0-9_-]{32,64}", fullmatch=True, alphabet=st.characters(max_codepoint=127)))
def test_a_token_reads_back(secret: str) -> None:
    token = parse_token(f"shoal1.{FINGERPRINT}.{secret}")
    assert (token.ca_sha256, token.secret.get_secret_value()) == (FINGERPRINT, secret)
    assert token.to_text() == f"shoal1.{FINGERPRINT}.{secret}"


def test_white_space_around_a_pasted_token_does_no_harm() -> None:
    assert parse_token(f"  {TOKEN}\r\n").to_text() == TOKEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        f"shoal2.{FINGERPRINT}.{SECRET}",
        f"shoal1.{FINGERPRINT[:-1]}.{SECRET}",
        f"shoal1.{FINGERPRINT.upper()}.{SECRET}",
        f"shoal1.{FINGERPRINT}.{SECRET[:31]}",
        f"shoal1.{FINGERPRINT}.{'x' * 65}",
        f"shoal1.{FINGERPRINT}.{SECRET[:-1]}!",
        f"shoal1.{FINGERPRINT}.{SECRET[:20]}\n{SECRET[20:]}",
        f"{TOKEN}.more",
    ],
)
def test_what_is_not_a_whole_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MessageError, match="copy it whole from `shoal tokens create`") as caught:
        parse_token(text)
    assert SECRET[:20] not in str(caught.value)


@given(st.text(max_size=200))
def test_arbitrary_text_is_no_token_and_raises_nothing_but_a_message_error(text: str) -> None:
    with pytest.raises(MessageError):
        parse_token(text)


def test_a_secret_shows_in_no_representation() -> None:
    assert SECRET not in repr(parse_token(TOKEN))
    request = MESSAGES["enrolment-request"].message
    assert isinstance(request, EnrolmentRequest)
    assert request.token not in repr(request)


@pytest.mark.parametrize("key", ["", "zz" * 32, "00" * 31, "AB" * 32])
def test_a_director_key_that_is_no_ed25519_key_is_refused(key: str) -> None:
    document = json.loads(MESSAGES["enrolment-response"].message.to_bytes())
    document["director_keys"]["director-1"] = key
    with pytest.raises(MessageError, match=r"director_keys\.director-1"):
        parse_message(EnrolmentResponse, json.dumps(document).encode(), MAX_REPORT_BYTES)
