"""Keys by which others than programs on this device may ask for inference."""

import hmac
import json
import secrets
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.endpoint.message import RequestError
from shoal_agent.errors import DiskError

_UNAUTHORIZED: Final = 401
_KEY_BYTES: Final = 32
_REMEDY: Final = "send the header 'Authorization: Bearer KEY'; a key is made by: shoal-agent api-keys create NAME"


class ApiKey(BaseModel):
    """What is kept of a key: never the key itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    created_at: datetime


_KEYS: Final = TypeAdapter(tuple[ApiKey, ...])


class ApiKeys:
    """The keys of a file, read again whenever it has changed.

    A key is 256 random bits, so its hash needs no salt and cannot be searched for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()

    def read(self) -> tuple[ApiKey, ...]:
        """Return the keys that there are.

        Raises:
            DiskError: The file is damaged or cannot be read.
        """
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                self._keys, self._seen = _KEYS.validate_json(self._path.read_bytes()), seen
        except FileNotFoundError:
            self._keys, self._seen = (), None
        except (OSError, ValidationError) as error:
            message = f"reading the keys of the remote endpoint in {self._path}: {str(error)[:200]}"
            raise DiskError(
                message, "remove the file, then make the keys again: shoal-agent api-keys create"
            ) from error
        return self._keys

    def create(self, name: str, now: datetime) -> str:
        """Make a key; it is shown this once.

        Raises:
            DiskError: There is one of this name, or it cannot be kept.
        """
        keys = self.read()
        if any(key.name == name for key in keys):
            message = f"making the key {name!r}: there is one of this name in {self._path}"
            raise DiskError(message, f"choose another name, or take it back first: shoal-agent api-keys revoke {name}")
        key = secrets.token_urlsafe(_KEY_BYTES)
        self._write((*keys, ApiKey(name=name, sha256=_digest(key), created_at=now)))
        return key

    def revoke(self, name: str) -> None:
        """Take a key back; a running agent refuses it from its next request on.

        Raises:
            DiskError: There is none of this name.
        """
        keys = self.read()
        kept = tuple(key for key in keys if key.name != name)
        if len(kept) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise DiskError(f"taking the key {name!r} back: there are {known} in {self._path}", "name one of them")
        self._write(kept)

    def authorize(self, headers: dict[bytes, bytes]) -> None:
        """See that a request carries a key.

        Raises:
            RequestError: It does not: 401.
        """
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise _refusal("the request carries no key")
        digest = _digest(key.decode("latin-1").strip())
        if not any([hmac.compare_digest(digest, known.sha256) for known in self.read()]):  # noqa: C419 - all of them
            raise _refusal("the request's key is not one of this device's")

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        try:
            replace_file(self._path, json.dumps(_KEYS.dump_python(keys, mode="json"), indent=2).encode())
        except OSError as error:
            raise DiskError(
                f"writing {self._path}: {error.strerror}", "free some disk space, then try again"
            ) from error


def _refusal(message: str) -> RequestError:
    return RequestError(message, _UNAUTHORIZED, _REMEDY, headers=(("www-authenticate", "Bearer"),))


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()
