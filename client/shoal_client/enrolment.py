"""The routes of devices without a token, and of the devices' CA, as methods."""

from collections.abc import Sequence
from typing import Any

from shoal_client.fleet import AuthorisedKey, CaRotation, PendingEnrolment
from shoal_client.transport import Transport

_AT_ONCE = 1000
"""Keys that one request may authorise."""


class Enrolments:
    """Keys that may enrol without a token, and devices that wait for an operator."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def authorise(self, keys: Sequence[dict[str, Any]]) -> list[AuthorisedKey]:
        """Let the devices with these keys enrol.

        Args:
            keys: Each with `key_sha256` and, if wanted, `name`, `group`, `tags` and `expires_in_s`.
        """
        parts = [{"keys": list(keys[start : start + _AT_ONCE])} for start in range(0, len(keys), _AT_ONCE)]
        answers = [self._transport.call("POST", "/authorised-keys", list[AuthorisedKey], json=part) for part in parts]
        return [key for answer in answers for key in answer]

    def authorised(self, *, limit: int = 1000, offset: int = 0) -> list[AuthorisedKey]:
        """List authorised keys, newest first."""
        params = {"limit": limit, "offset": offset}
        return self._transport.call("GET", "/authorised-keys", list[AuthorisedKey], params=params)

    def withdraw(self, key_sha256: str) -> None:
        """Withdraw an authorised key; a device that has enrolled with it stays."""
        self._transport.fetch("DELETE", f"/authorised-keys/{key_sha256}")

    def pending(self) -> list[PendingEnrolment]:
        """List devices that asked without a token: those that wait first."""
        return self._transport.call("GET", "/enrolments", list[PendingEnrolment])

    def accept(
        self, key_sha256: str, *, name: str = "", group: str = "", tags: dict[str, str] | None = None
    ) -> PendingEnrolment:
        """Let a device that waits enrol; without a name it keeps its own."""
        body = {"name": name, "group": group, "tags": tags or {}}
        return self._transport.call("POST", f"/enrolments/{key_sha256}/accept", PendingEnrolment, json=body)

    def reject(self, key_sha256: str) -> PendingEnrolment:
        """Refuse a device that waits."""
        return self._transport.call("POST", f"/enrolments/{key_sha256}/reject", PendingEnrolment)


class DeviceCa:
    """The devices' certificate authority, and the three steps by which another takes its place."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def status(self) -> CaRotation:
        """Return how far a change is."""
        return self._transport.call("GET", "/trust/ca", CaRotation)

    def announce(self) -> CaRotation:
        """Make a new CA, and have devices trust it beside the present one."""
        return self._transport.call("POST", "/trust/ca/announce", CaRotation)

    def switch(self) -> CaRotation:
        """Sign by the new CA from now on."""
        return self._transport.call("POST", "/trust/ca/switch", CaRotation)

    def finish(self, *, force: bool = False) -> CaRotation:
        """Trust the new CA alone; refused while somebody depends on the old one, unless forced."""
        return self._transport.call("POST", "/trust/ca/finish", CaRotation, json={"force": force})
