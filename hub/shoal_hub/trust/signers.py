"""TUF's signing keys by key id: in files of a keystore, or behind a signer's URL (PKCS #11, AWS KMS).

The metadata in force says which key ids a role trusts; what is here for them signs. So a key that has been made and is
not in force yet, or no longer, needs no state of its own.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ValidationError
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import AWSSigner, CryptoSigner, HSMSigner, Key, Signer, SSlibKey

from shoal_hub.trust import files
from shoal_hub.trust.errors import SignerError, TrustError
from shoal_hub.trust.keystore import Keystore

PIN_CREDENTIAL: Final = "shoal-hsm-pin"


class _Elsewhere(BaseModel):
    """A key that cannot be read: where it signs, and its public half as TUF writes it."""

    url: str
    public: dict[str, Any]


class SignerStore:
    """The signing keys of one folder."""

    def __init__(self, keys: Keystore) -> None:
        self._keys = keys
        self._opened: dict[str, Signer] = {}

    def make(self) -> SSlibKey:
        """Make an Ed25519 key and return its public half."""
        key = Ed25519PrivateKey.generate()
        public = SSlibKey.from_crypto(key.public_key())
        self._keys.write(public.keyid, key)
        return public

    def attach(self, url: str) -> SSlibKey:
        """Take a key behind a signer's URL, and return its public half.

        Raises:
            SignerError: The URL is none, its library is not installed, or no key answers there.
        """
        url, public = import_public_key(url)
        self._keys.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = _Elsewhere(url=url, public=public.to_dict())
        files.write_private(self._record(public.keyid), record.model_dump_json(indent=2).encode())
        return public

    def key_ids(self) -> list[str]:
        """Return the ids of the keys that are here or attached."""
        return sorted({*self._keys.names(), *(path.stem for path in self._keys.folder.glob("*.signer"))})

    def place(self, key_id: str) -> str:
        """Return where a key is: a file, a signer's URL, or empty for a key that is not here."""
        if self._keys.path(key_id).exists():
            return str(self._keys.path(key_id))
        return self._read(key_id).url if self._record(key_id).exists() else ""

    def signer(self, key: Key) -> Signer | None:
        """Return what signs by `key`; None where it is not here.

        Raises:
            TrustError: The key's file is damaged.
            SignerError: What signs behind its URL cannot be opened.
        """
        if key.keyid not in self._opened and self.place(key.keyid):
            self._opened[key.keyid] = self._open(key)
        return self._opened.get(key.keyid)

    def erase(self, key_id: str) -> None:
        """Remove a key that nothing trusts any more; one behind a URL is let go of and stays there."""
        self._opened.pop(key_id, None)
        self._keys.erase(key_id)
        self._record(key_id).unlink(missing_ok=True)

    def _open(self, key: Key) -> Signer:
        if not isinstance(key, SSlibKey):
            raise SignerError(f"opening the key {key.keyid}: its kind {key.keytype} is not known", "rotate the role")
        if self._keys.path(key.keyid).exists():
            return CryptoSigner(self._keys.read_ed25519(key.keyid), key)
        return open_signer(self._read(key.keyid).url, key)

    def _record(self, key_id: str) -> Any:  # noqa: ANN401 - pathlib.Path
        return self._keys.folder / f"{key_id}.signer"

    def _read(self, key_id: str) -> _Elsewhere:
        path = self._record(key_id)
        try:
            return _Elsewhere.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise TrustError(f"reading {path}: {error}", files.RESTORE) from error


def import_public_key(url: str) -> tuple[str, SSlibKey]:
    """Ask the signer behind a URL for its public key.

    Returns:
        The URL under which it signs, and the key.

    Raises:
        SignerError: The URL is none, its library is not installed, or no key answers there.
    """
    with _signing_behind(url) as scheme:
        return _IMPORTS[scheme](url)


def open_signer(url: str, public: SSlibKey) -> Signer:
    """Open what signs behind a URL by a key whose public half is known.

    Raises:
        SignerError: The URL is none, its library is not installed, or it is not configured here.
    """
    with _signing_behind(url):
        return Signer.from_priv_key_uri(url, public, read_pin)


@contextmanager
def _signing_behind(url: str) -> Iterator[str]:
    """Give the scheme of a signer's URL, and say what to do about what its library raises."""
    scheme = urlsplit(url).scheme
    if scheme not in _IMPORTS:
        raise SignerError(
            f"opening the signer {url}: the kind {scheme or 'none'} is not known",
            "use hsm:, a key in a PKCS #11 token, or awskms:, one in AWS KMS, as securesystemslib writes them",
        )
    try:
        yield scheme
    except SignerError:
        raise
    except UnsupportedLibraryError as error:
        raise SignerError(f"opening the signer {url}: {error}", f"run: pip install {_LIBRARIES[scheme]}") from error
    except Exception as error:  # each service's library raises its own kinds
        raise SignerError(
            f"opening the signer {url}: {type(error).__name__}: {error}", f"check the URL and {_ACCESS[scheme]}"
        ) from error


def read_pin(_what: str) -> str:
    """Return the PIN of a PKCS #11 token: systemd's credential, or the file in SHOAL_HSM_PIN_FILE.

    Raises:
        SignerError: There is no such file.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = os.environ.get("SHOAL_HSM_PIN_FILE") or (f"{credentials}/{PIN_CREDENTIAL}" if credentials else "")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - an empty path must not mean the working folder
            return file.read().rstrip("\r\n")
    except OSError as error:
        raise SignerError(
            f"reading the PIN of the PKCS #11 token: {path or 'no file is named'}: {error.strerror}",
            f"name its file in SHOAL_HSM_PIN_FILE, or give systemd the credential {PIN_CREDENTIAL}",
        ) from error


def _import_hsm(url: str) -> tuple[str, SSlibKey]:
    parsed = urlsplit(url)
    label = dict(parse_qsl(parsed.query)).get("label")
    return HSMSigner.import_(int(parsed.path) if parsed.path else None, label, read_pin)


def _import_aws(url: str) -> tuple[str, SSlibKey]:
    return AWSSigner.import_(url.removeprefix("awskms:"))


_IMPORTS: Final[dict[str, Callable[[str], tuple[str, SSlibKey]]]] = {"hsm": _import_hsm, "awskms": _import_aws}
_LIBRARIES: Final = {"hsm": "'shoal[hsm]'", "awskms": "'shoal[aws]'"}
_ACCESS: Final = {
    "hsm": "the token, its library in PYKCS11LIB and its PIN",
    "awskms": "the region, the credentials and that they may do kms:GetPublicKey and kms:Sign with this key",
}
