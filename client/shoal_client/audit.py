"""The audit trail as the API gives it: entries, what verifying came to, and exports."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport

By = Literal["people", "devices", "hub"]
_VERIFY_TIMEOUT_S = 600.0
"""The hub reads the whole trail before it answers."""


class AuditEntry(Value):
    """One change: who, what, before, after, when, from where."""

    sequence: int
    at: datetime
    actor_id: str
    actor_name: str
    actor_role: str
    actor_address: str
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    previous_sha256: str
    sha256: str


class AuditFinding(Value):
    """One thing that is wrong, about the entries from `first` to `last`."""

    kind: str
    first: int
    last: int
    message: str


class AuditReport(Value):
    """What a verification came to; `covered` entries are vouched for by a signed anchor."""

    entries: int
    head_sha256: str
    covered: int
    anchors: int
    last_anchor_at: datetime | None
    uncovered_since: datetime | None
    findings: list[AuditFinding]
    holds: bool


class Audit:
    """The audit trail. It can be read and verified, never changed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        actor: str | None = None,
        by: By | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """List entries in order: the first after `after`, or without it the last `limit`.

        Args:
            actor: Id or name of who.
            by: Who acts: people, devices, or the hub by itself.
            action: What, like `rollouts.pause_rollout`.
            subject: Of what, and all below it, like `models/digits`.
            since: Not before this time, which is aware.
            until: Before this time, which is aware.
            after: Only entries of a higher sequence.
            limit: How many at most.
        """
        times = {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at is not None}
        params = {"actor": actor, "by": by, "action": action, "subject": subject, "after": after, "limit": limit}
        given = {name: value for name, value in params.items() if value is not None} | times
        return self._transport.call("GET", "/audit", list[AuditEntry], params=given)

    def show(self, sequence: int) -> AuditEntry:
        """Return one entry."""
        return self._transport.call("GET", f"/audit/{sequence}", AuditEntry)

    def verify(self) -> AuditReport:
        """Have the hub check its whole trail. For a check that does not trust the hub, verify an export offline."""
        return self._transport.call("GET", "/audit/verify", AuditReport, timeout=_VERIFY_TIMEOUT_S)

    def export(self, form: Literal["jsonl", "csv"] = "jsonl") -> Iterator[bytes]:
        """Yield the whole trail as JSON lines or CSV, while it comes."""
        with self._transport.stream(f"/audit/export?form={form}") as response:
            yield from response.iter_bytes()
