"""The desired state in force, kept as the envelope that was received: a start without the hub still knows it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_agent.trust import Keys, read_desired, verify_desired
from shoal_contract.desired import DesiredState
from shoal_contract.telemetry import DeploymentEvent, EventBody
from shoal_contract.trust import director_role


class _Kept(BaseModel):
    """An envelope and the key by which it was believed when it came.

    The key stands beside it because that director may have been removed since: what it made run keeps running, while
    damage to the envelope is still found.
    """

    model_config = ConfigDict(frozen=True)

    envelope: str
    key_id: str
    key: str


class DesiredFile:
    """`<data>/trust/desired.json`; `state` is the one in force.

    Args:
        path: The file.
        keys: Gives the keys of the directors that are believed at present.
        device_id: This device.
    """

    def __init__(self, path: Path, keys: Callable[[], Keys], device_id: str) -> None:
        self._path = path
        self._keys = keys
        self._device_id = device_id
        self._kept: _Kept | None = None
        self.state: DesiredState | None = None

    def load(self) -> DesiredState | None:
        """Read the state that was in force before the start.

        Neither expiry nor a director's removal matter: it was accepted in time.

        Raises:
            TrustError: The stored envelope does not verify; the device waits for the hub's.
            DiskError: It can not be read.
        """
        content = self._read()
        if content is not None:
            try:
                kept = _Kept.model_validate_json(content)
                key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(kept.key))
            except ValueError as error:
                raise _unreadable(error) from error
            envelope, keys = kept.envelope.encode(), {kept.key_id: key}
            self.state, self._kept = read_desired(envelope, keys=keys, device_id=self._device_id), kept
        return self.state

    def progress_s(self, body: EventBody) -> float:
        """Return how long a step of a deployment may wait to be told, as far as the state in force says."""
        wanted = self.state.models.get(body.model) if self.state and isinstance(body, DeploymentEvent) else None
        policy = wanted.policy if wanted is not None else None
        return (policy.progress_s or 0.0) if policy is not None else 0.0

    def accept(self, envelope: bytes, now: datetime) -> DesiredState:
        """Verify a received envelope and make it the one in force, durably; the one in force is not written again.

        Raises:
            TrustError: It was refused; the state before stays in force.
            DiskError: It can not be kept; the state before stays in force until the hub publishes again.
        """
        current, keys = self.state.order if self.state else (0, 0), self._keys()
        state = verify_desired(envelope, keys=keys, device_id=self._device_id, current=current, now=now)
        director = director_role(state.epoch)
        key = keys[director].public_bytes_raw().hex()
        kept = _Kept(envelope=envelope.decode(), key_id=director, key=key)
        if kept != self._kept:
            try:
                self._write(kept.model_dump_json().encode())
            except OSError as error:
                raise DiskError(f"keeping desired state {state.order}: {error}", "free some disk space") from error
        self.state, self._kept = state, kept
        return state

    def _read(self) -> bytes | None:
        """Return what is kept, None where nothing is."""
        try:
            return self._path.read_bytes() if self._path.exists() else None
        except OSError as error:
            raise _unreadable(error) from error

    def _write(self, content: bytes) -> None:
        """Keep it, durably."""
        replace_file(self._path, content)


def _unreadable(error: Exception) -> DiskError:
    message = f"reading the stored desired state: {error}"
    return DiskError(message, "the hub publishes it again by itself; check the disk")
