"""The desired state in force, kept as the envelope that was received: a start without the hub still knows it."""

from datetime import datetime
from pathlib import Path

from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_agent.trust import Keys, read_desired, verify_desired
from shoal_contract.desired import DesiredState


class DesiredFile:
    """`<data>/trust/desired.dsse`; `state` is the one in force."""

    def __init__(self, path: Path, keys: Keys, device_id: str) -> None:
        self._path = path
        self._keys = keys
        self._device_id = device_id
        self.state: DesiredState | None = None

    def load(self) -> DesiredState | None:
        """Read the state that was in force before the start. Expiry does not matter: it was accepted in time.

        Raises:
            TrustError: The stored envelope does not verify; the device waits for the hub's.
            DiskError: It can not be read.
        """
        if self._path.exists():
            try:
                envelope = self._path.read_bytes()
            except OSError as error:
                raise DiskError(f"reading the stored desired state: {error}") from error
            self.state = read_desired(envelope, keys=self._keys, device_id=self._device_id)
        return self.state

    def accept(self, envelope: bytes, now: datetime) -> DesiredState:
        """Verify a received envelope and make it the one in force, durably.

        Raises:
            TrustError: It was refused; the state before stays in force.
            DiskError: It can not be kept; the state before stays in force until the hub publishes again.
        """
        current = self.state.order if self.state else (0, 0)
        state = verify_desired(envelope, keys=self._keys, device_id=self._device_id, current=current, now=now)
        try:
            replace_file(self._path, envelope)
        except OSError as error:
            raise DiskError(f"keeping desired state {state.order}: {error}", "free some disk space") from error
        self.state = state
        return state
