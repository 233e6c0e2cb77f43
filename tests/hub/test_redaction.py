"""What a secret looks like, that it is taken out of a text, and that words which only look like one stay."""

import logging
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import SecretStr

from shoal_contract.enrolment import EnrolmentToken
from shoal_hub.console.login_routes import _OIDC_COOKIE
from shoal_hub.operators.tokens import OPERATOR_PREFIX
from shoal_hub.redaction import REDACTED, SECRETS, RedactingFormatter, find_secrets, redact
from shoal_hub.security import new_secret


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


_SECRET = new_secret()
_EC = pem(ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.TraditionalOpenSSL)
_ED = pem(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.PKCS8)
_INSIDE = {key: key[40:70] for key in (_EC, _ED, _ED.replace("\n", "\\n"), repr(_EC))}
SAMPLES = {
    "an operator's token": (OPERATOR_PREFIX + _SECRET, _SECRET),
    "an enrolment token": (EnrolmentToken("a" * 64, SecretStr(_SECRET)).to_text(), _SECRET),
    "a private key": (_ED, _ED.splitlines()[1]),
    "a password in a URL": ("postgresql://shoal:p@ss:w0rd@db.example/shoal", "p@ss:w0rd"),
    "a credential of a request": ("Authorization: Basic YWRhOmxvdmVsYWNlMTg0Mw==", "YWRhOmxvdmVsYWNlMTg0Mw=="),
    "a console session": (f"Cookie: __Host-shoal={_SECRET}", _SECRET),
}


def test_there_is_a_sample_of_each_kind() -> None:
    assert set(SAMPLES) == {secret.kind for secret in SECRETS}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_secret_is_found_and_taken_out_wherever_it_stands(kind: str) -> None:
    text, secret = SAMPLES[kind]
    for line in (text, f"before {text} after", f"'{text}'", f'{{"x": "{text}"}}', f"a\n{text}\nb"):
        assert kind in find_secrets(line)
        assert secret not in redact(line)
        assert REDACTED in redact(line)
        assert find_secrets(redact(line)) == set()
        assert redact(redact(line)) == redact(line)


def test_the_cookie_of_a_login_that_is_under_way_is_one_too() -> None:
    assert _SECRET not in redact(f"Cookie: {_OIDC_COOKIE}={_SECRET}")


@pytest.mark.parametrize("key", _INSIDE)
def test_a_private_key_is_found_in_each_of_its_forms(key: str) -> None:
    assert find_secrets(key) == {"a private key"}
    assert _INSIDE[key] not in redact(key)
    assert find_secrets(redact(key)) == set()


@pytest.mark.parametrize(
    "text",
    [
        "shoal_hub.controller.loop: shoal_contract, shoal_training",
        "send  Authorization: Bearer shoal_…  or run `shoal login`",
        "postgresql://user@host/name, postgresql://user:***@host/name, https://host:8443/a@b",
        "shoal/1/device/d-abcdefgh234567ab/up/event",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBvTBXBgkqhkiG9w0BBQ0w\n-----END ENCRYPTED PRIVATE KEY-----",
        "0123456789abcdef" * 4,
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert find_secrets(text) == set()
    assert redact(text) == text


def test_a_traceback_is_logged_without_the_secrets_in_it() -> None:
    token = SAMPLES["an operator's token"][0]
    try:
        int(token)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "with %s", (token,), sys.exc_info())
    line = RedactingFormatter("%(message)s").format(record)
    assert "invalid literal for int() with base 10: '(secret)'" in line
    assert "with (secret)" in line
    assert token not in line
