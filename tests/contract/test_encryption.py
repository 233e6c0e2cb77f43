"""Encrypted files and wrapped keys: they open for whom, and as what, they were made, and nothing else opens."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_contract.encryption import (
    CHUNK_BYTES,
    TAG_BYTES,
    KeyUse,
    WrappedKey,
    decrypt_chunks,
    decrypt_file,
    delta_key,
    encrypt_chunks,
    encrypt_file,
    encrypted_size,
    key_sha256,
    unwrap_key,
    wrap_key,
)
from shoal_contract.errors import EncryptionError
from shoal_contract.ids import sha256_hex

GOLDEN = Path(__file__).parent / "encrypted-file.hex"
VERSION_KEY, OTHER_KEY = bytes(range(32)), bytes(32)
SEALED = CHUNK_BYTES + TAG_BYTES
PLAIN = bytes(index * 7 % 251 for index in range(2 * CHUNK_BYTES + 1000))
DEVICE = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
USE = KeyUse("d-abcdefgh234567ab", "digits", 3)
sizes = st.integers(1, 5).flatmap(
    lambda chunks: st.integers((chunks - 1) * CHUNK_BYTES + 1, chunks * CHUNK_BYTES)
) | st.integers(1, 300)


def decrypt(sealed: bytes, key: bytes = VERSION_KEY, plain: bytes = PLAIN) -> bytes:
    return decrypt_file(sealed, key, sha256_hex(plain), len(plain))


@settings(deadline=None, max_examples=40)
@given(size=sizes, seed=st.integers(0, 255), key=st.binary(min_size=32, max_size=32))
def test_any_file_comes_back_and_its_ciphertext_has_the_stated_size(size: int, seed: int, key: bytes) -> None:
    plain = bytes([seed]) * size
    sealed = encrypt_file(plain, key)
    assert len(sealed) == encrypted_size(size)
    assert decrypt_file(sealed, key, sha256_hex(plain), size) == plain


def test_the_ciphertext_is_exactly_the_golden_one() -> None:
    """The form is pinned: what a hub has encrypted, every later agent still opens."""
    golden = bytes.fromhex(GOLDEN.read_text())
    assert encrypt_file(b"a model of 100 bytes" * 5, VERSION_KEY) == golden
    whole = encrypt_file(PLAIN, VERSION_KEY)
    assert sha256_hex(whole) == "87cec204e1b2923e757603cab6da49522b947a37d1d343155ed2fd627a05695c"


def test_the_form_is_what_its_documentation_says() -> None:
    """Written out again from RFC 5869 and the module's text, without its code."""
    digest = hashlib.sha256(PLAIN).digest()
    extracted = hmac.digest(bytes(32), VERSION_KEY, "sha256")
    file_key = hmac.digest(extracted, b"shoal/1/encrypted-file\0" + digest + b"\1", "sha256")
    parts = [PLAIN[start : start + 65_536] for start in range(0, len(PLAIN), 65_536)]
    expected = [
        AESGCM(file_key).encrypt(index.to_bytes(12, "big"), part, digest + index.to_bytes(8, "big") + b"\0" * 7 + b"\3")
        for index, part in enumerate(parts)
    ]
    assert encrypt_file(PLAIN, VERSION_KEY) == b"".join(expected)


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, encrypted_size(len(PLAIN)) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_passes(place: int, bit: int) -> None:
    sealed = bytearray(encrypt_file(PLAIN, VERSION_KEY))
    sealed[place] ^= 1 << bit
    with pytest.raises(EncryptionError, match="does not open"):
        decrypt(bytes(sealed))


def test_cut_off_added_swapped_and_foreign_chunks_are_refused() -> None:
    sealed = encrypt_file(PLAIN, VERSION_KEY)
    first, second, last = sealed[:SEALED], sealed[SEALED : 2 * SEALED], sealed[2 * SEALED :]
    foreign = encrypt_file(b"x" * len(PLAIN), VERSION_KEY)
    attacks = {
        "cut off after a chunk": (first + second, "2 chunks"),
        "cut off within a chunk": (sealed[:-1], "chunk 2 has"),
        "nothing": (b"", "0 chunks"),
        "swapped": (second + first + last, "chunk 0 does not open"),
        "repeated": (first + first + last, "chunk 1 does not open"),
        "added": (sealed + first, "chunk 2 has"),
        "added as a chunk of its own": (sealed + last, "chunk 2 has"),
        "of another file": (foreign[:SEALED] + second + last, "chunk 0 does not open"),
        "another file": (foreign, "chunk 0 does not open"),
        "not encrypted": (PLAIN, "chunk 0 does not open"),
    }
    for attack, (data, complaint) in attacks.items():
        with pytest.raises(EncryptionError, match=complaint):
            pytest.fail(f"{attack}: {len(decrypt(data))} bytes were taken")


def test_a_shorter_file_of_whole_chunks_does_not_pass_for_a_longer_one() -> None:
    """The number of chunks is bound to each: a cut at a chunk's border shows in the first chunk already."""
    longer, shorter = PLAIN[: 2 * CHUNK_BYTES], PLAIN[:CHUNK_BYTES]
    sealed = encrypt_file(longer, VERSION_KEY)[:SEALED]
    with pytest.raises(EncryptionError, match="chunk 0 does not open"):
        decrypt_file(sealed, VERSION_KEY, sha256_hex(longer), len(shorter))


def test_another_versions_key_does_not_open_the_file() -> None:
    with pytest.raises(EncryptionError, match="the key is of another version"):
        decrypt(encrypt_file(PLAIN, VERSION_KEY), OTHER_KEY)


def test_a_delta_opens_only_for_who_has_the_key_of_each_encrypted_version() -> None:
    """A delta and the new file give the old one, so one of the two keys must not be enough."""
    sealed = encrypt_file(PLAIN, _key(VERSION_KEY, OTHER_KEY))
    assert decrypt(sealed, _key(VERSION_KEY, OTHER_KEY)) == PLAIN
    not_enough = [VERSION_KEY, OTHER_KEY, _key(VERSION_KEY, None), _key(None, OTHER_KEY), _key(OTHER_KEY, VERSION_KEY)]
    for key in not_enough:
        with pytest.raises(EncryptionError, match="does not open"):
            decrypt(sealed, key)


def test_a_delta_with_one_encrypted_side_opens_by_that_sides_key_and_by_no_files_key() -> None:
    for key in (_key(VERSION_KEY, None), _key(None, VERSION_KEY)):
        sealed = encrypt_file(PLAIN, key)
        assert decrypt(sealed, key) == PLAIN
        for wrong in (VERSION_KEY, OTHER_KEY):
            with pytest.raises(EncryptionError, match="does not open"):
                decrypt(sealed, wrong)


def test_a_delta_between_two_plain_files_has_no_key() -> None:
    assert delta_key(None, None) is None


def test_the_key_of_a_delta_is_what_its_documentation_says() -> None:
    """Written out again from RFC 5869 and the function's text, without its code."""
    extracted = hmac.digest(bytes(32), VERSION_KEY + OTHER_KEY, "sha256")
    assert delta_key(VERSION_KEY, OTHER_KEY) == hmac.digest(extracted, b"shoal/1/delta\0\1", "sha256")


def _key(base_key: bytes | None, new_key: bytes | None) -> bytes:
    key = delta_key(base_key, new_key)
    assert key is not None
    return key


def test_no_two_files_are_sealed_under_one_key_and_nonce() -> None:
    one, other = encrypt_file(b"a" * 64, VERSION_KEY), encrypt_file(b"b" * 64, VERSION_KEY)
    assert bytes(x ^ y for x, y in zip(one, other, strict=True))[:64] != bytes([ord("a") ^ ord("b")]) * 64


def test_a_file_that_is_not_the_one_that_its_hash_names_is_not_encrypted_under_it() -> None:
    with pytest.raises(EncryptionError, match="1 chunks with the plain hash"):
        list(encrypt_chunks([b"changed"], VERSION_KEY, sha256_hex(b"claimed"), 7))
    with pytest.raises(EncryptionError, match="chunk 0 has 7 bytes"):
        list(encrypt_chunks([b"changed"], VERSION_KEY, sha256_hex(b"changed"), 8))


def test_what_somebody_with_the_key_sealed_under_another_files_hash_is_found_out_the_first_time() -> None:
    named = (sha256_hex(b"claimed"), 7)
    sealed = next(encrypt_chunks([b"changed"], VERSION_KEY, *named))
    with pytest.raises(EncryptionError, match="with the plain hash"):
        list(decrypt_chunks([sealed], VERSION_KEY, *named))


def test_of_a_file_that_is_known_the_tags_still_find_every_change() -> None:
    sealed, named = encrypt_file(PLAIN, VERSION_KEY), (sha256_hex(PLAIN), len(PLAIN))
    chunks = [sealed[start : start + SEALED] for start in range(0, len(sealed), SEALED)]
    assert b"".join(decrypt_chunks(chunks, VERSION_KEY, *named, is_known=True)) == PLAIN
    changed = [bytes([chunks[0][0] ^ 1]) + chunks[0][1:], *chunks[1:]]
    for attack in (changed, chunks[:-1], [*chunks, chunks[-1]], [chunks[1], chunks[0], *chunks[2:]]):
        with pytest.raises(EncryptionError):
            list(decrypt_chunks(attack, VERSION_KEY, *named, is_known=True))


def test_chunks_are_handed_on_one_by_one() -> None:
    sealed = encrypt_file(PLAIN, VERSION_KEY)
    parts = (sealed[start : start + SEALED] for start in range(0, len(sealed), SEALED))
    plain = decrypt_chunks(parts, VERSION_KEY, sha256_hex(PLAIN), len(PLAIN))
    assert next(plain) == PLAIN[:CHUNK_BYTES]
    assert len(next(parts)) == SEALED  # the second has not been asked for yet


@pytest.mark.parametrize(("key", "plain"), [(bytes(16), b"x"), (b"", b"x"), (VERSION_KEY, b"")])
def test_a_short_key_and_an_empty_file_are_refused(key: bytes, plain: bytes) -> None:
    with pytest.raises(EncryptionError, match="expected 32 and 1 or more"):
        encrypt_file(plain, key)


@given(key=st.binary(min_size=32, max_size=32))
def test_a_wrapped_key_opens_for_its_device_and_version(key: bytes) -> None:
    wrapped = wrap_key(key, DEVICE.public_key(), USE)
    assert WrappedKey.model_validate_json(wrapped.model_dump_json()) == wrapped
    assert unwrap_key(wrapped, DEVICE, USE) == key


@pytest.mark.parametrize(
    "use",
    [
        KeyUse("d-zzzzzzzz234567ab", "digits", 3),
        KeyUse("d-abcdefgh234567ab", "faces", 3),
        KeyUse("d-abcdefgh234567ab", "digits", 4),
        KeyUse("d-abcdefgh234567ab", "digits", 30),
    ],
)
def test_a_wrapped_key_can_not_be_moved_to_another_device_model_or_version(use: KeyUse) -> None:
    with pytest.raises(EncryptionError, match="made for another device or version"):
        unwrap_key(wrap_key(VERSION_KEY, DEVICE.public_key(), USE), DEVICE, use)


def test_another_devices_key_opens_nothing_whoever_it_claims_to_be_for() -> None:
    other = X25519PrivateKey.generate()
    wrapped = wrap_key(VERSION_KEY, DEVICE.public_key(), USE)
    with pytest.raises(EncryptionError, match=f"this device has {key_sha256(other.public_key())[:12]}"):
        unwrap_key(wrapped, other, USE)
    claimed = wrapped.model_copy(update={"recipient": key_sha256(other.public_key())})
    with pytest.raises(EncryptionError, match="or was changed"):
        unwrap_key(claimed, other, USE)


def test_a_changed_wrapped_key_is_refused() -> None:
    data = bytearray(base64.b64decode(wrap_key(VERSION_KEY, DEVICE.public_key(), USE).data))
    recipient = key_sha256(DEVICE.public_key())
    for place in (0, 40, len(data) - 1):
        changed = bytes(byte ^ (index == place) for index, byte in enumerate(data))
        with pytest.raises(EncryptionError, match="was changed"):
            unwrap_key(WrappedKey(recipient=recipient, data=base64.b64encode(changed).decode()), DEVICE, USE)
    for text in ("!" * 108, "A" * 107, "A" * 108):
        with pytest.raises(EncryptionError, match="was changed"):
            unwrap_key(WrappedKey(recipient=recipient, data=text), DEVICE, USE)


def test_the_library_opens_the_example_of_rfc_9180() -> None:
    """Appendix A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, base mode; it has AES-128-GCM only."""
    key = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    )
    sealed = bytes.fromhex(
        "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)
    plain = openssl.hpke._decrypt_with_aad(suite, sealed, key, b"Ode on a Grecian Urn", b"Count-0")
    assert plain == b"Beauty is truth, truth beauty"


def test_a_wrapped_key_is_what_rfc_9180_says_for_our_suite() -> None:
    wrapped = base64.b64decode(wrap_key(VERSION_KEY, DEVICE.public_key(), USE).data)
    assert _open_by_the_rfc(wrapped, DEVICE, b"shoal/1/version-key\0d-abcdefgh234567ab\0digits\x003") == VERSION_KEY


def _open_by_the_rfc(sealed: bytes, key: X25519PrivateKey, info: bytes) -> bytes:
    """Decap and open of RFC 9180, sections 4.1 and 5.1, written out for kem 0x0020, kdf 0x0001 and aead 0x0002."""
    enc, own = sealed[:32], key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")

    def expand(suite: bytes, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, labelled + b"\1", "sha256")[:length]

    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    shared = extract(kem, b"", b"eae_prk", key.exchange(X25519PublicKey.from_public_bytes(enc)))
    shared = expand(kem, shared, b"shared_secret", enc + own, 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    aead = AESGCM(expand(suite, secret, b"key", context, 32))
    return aead.decrypt(expand(suite, secret, b"base_nonce", context, 12), sealed[32:], b"")
