"""Signs the head of the trail and takes it out of the database: into a file, to the broker, to a webhook.

One process signs: the controller. Before it does, it goes along what has come since the last anchor, so that a change
of the trail by hand is told of within the minute, and not only when somebody verifies.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract import topics
from shoal_hub.audit.chain import Anchor, Finding, compare_kept, read_anchors, verify
from shoal_hub.audit.entry import START
from shoal_hub.audit.key import AuditKey, newest_number, read_public
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.bulk import Query
from shoal_hub.database import Database
from shoal_hub.events.record import record_event
from shoal_hub.transfer.publishing import Publisher

log = logging.getLogger(__name__)

_CONFIRM_TIMEOUT_S: Final = 10.0
_BATCH: Final = 500


_HEAD: Final = Query(
    select_columns(col(AuditEntry.sequence), col(AuditEntry.sha256)).order_by(col(AuditEntry.sequence).desc()).limit(1)
)


@dataclass
class KeptAnchor:
    """The anchor that the broker keeps, as it came from there; None where it has none or does not answer."""

    envelope: bytes | None = None


class AnchorFile:
    """`anchors.jsonl`: an envelope a line, only ever appended to."""

    def __init__(self, data: Path) -> None:
        self.path = data / "audit" / "anchors.jsonl"

    def append(self, signed: bytes) -> None:
        """Append an anchor; it is on the disk when this returns."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, signed + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> list[bytes]:
        """Return the anchors, oldest first."""
        return self.path.read_bytes().splitlines() if self.path.exists() else []


class AuditSigner:
    """Anchors the trail when it is time to. Not safe to share between threads.

    Args:
        database: The hub's database.
        trust_dir: Where the key is.
        file: Where anchors are appended.
        send: Takes each anchor for the webhook, and does not block.
        anchor_s: How long an entry may wait for an anchor.
        liveness_s: How often an anchor is signed where there is nothing new.
    """

    def __init__(
        self,
        database: Database,
        trust_dir: Path,
        file: AnchorFile,
        send: Callable[[bytes], None],
        *,
        anchor_s: float,
        liveness_s: float,
    ) -> None:
        self._database = database
        self._trust_dir = trust_dir
        self._key = AuditKey.open(trust_dir)
        self._file = file
        self._send = send
        self._wait, self._longest_wait = timedelta(seconds=anchor_s), timedelta(seconds=liveness_s)
        lines = file.lines()
        anchors, self._findings = read_anchors(lines, read_public(trust_dir))
        self._last = anchors[-1] if anchors else None
        self._newest = self._unpublished = lines[-1] if anchors else None
        self._told: set[str] = set()

    def step(self, now: datetime, *, is_urgent: bool = False) -> bool:
        """Sign the trail's head if it is time to; return whether that was done."""
        self._tell()
        with self._database.session() as session:
            count, head = next(iter(_HEAD.rows(session)), (0, START))
            if not self._is_due(count, head, now, is_urgent=is_urgent):
                return False
            self._findings += self._check(session)
        anchor = Anchor(count=count, head_sha256=head, at=now)
        if newest_number(self._trust_dir) != self._key.number:
            self._key = AuditKey.open(self._trust_dir)
        signed = self._key.sign(anchor)
        self._append(anchor, signed)
        self._send(signed)
        self._tell()
        return True

    def publish(self, publisher: Publisher) -> None:
        """Have the broker keep the newest anchor, if it does not yet.

        Raises:
            MqttError: The connection went; it is tried again.
        """
        if self._unpublished is not None:
            publisher.publish(topics.HUB_AUDIT, self._unpublished, retain=True).result(_CONFIRM_TIMEOUT_S)
            self._unpublished = None

    def compare(self, kept: bytes | None) -> None:
        """Hold the file of anchors against the one that the broker keeps, before it is published over.

        An anchor of ours that the file has lost comes back into it, so that cutting the file destroys no evidence.
        """
        anchors, forged = read_anchors([kept] if kept is not None else [], read_public(self._trust_dir))
        self._findings += forged
        self._unpublished = self._newest
        known = [self._last] if self._last is not None else []
        for anchor in anchors:
            cut = compare_kept(known, anchor)
            if cut and kept is not None:
                self._findings += cut
                self._append(anchor, kept)

    def _append(self, anchor: Anchor, signed: bytes) -> None:
        self._file.append(signed)
        self._last, self._newest, self._unpublished = anchor, signed, signed

    def _is_due(self, count: int, head: str, now: datetime, *, is_urgent: bool) -> bool:
        if self._last is None:
            return True
        is_new = (count, head) != (self._last.count, self._last.head_sha256)
        wait = self._wait if is_new else self._longest_wait
        # A clock that was set back must not keep anchors away.
        return (is_urgent and is_new) or not timedelta() <= now - self._last.at < wait

    def _check(self, session: Session) -> list[Finding]:
        """Go along the entries from the last anchored one on."""
        if self._last is None or self._last.count == 0:
            return []
        wanted = select(AuditEntry).where(col(AuditEntry.sequence) >= self._last.count)
        rows = session.exec(wanted.order_by(col(AuditEntry.sequence)).execution_options(yield_per=_BATCH))
        entries = (row.to_entry() for row in rows)
        first = next(entries, None)
        if first is not None and (first.sequence, first.sha256) == (self._last.count, self._last.head_sha256):
            return verify(entries, [self._last], count=first.sequence, head=first.sha256).findings
        text = (
            f"entry {self._last.count} is gone or is not the one that was signed at {self._last.at:%Y-%m-%d %H:%M} UTC"
        )
        return [Finding(kind="rewritten", first=self._last.count, last=self._last.count, message=text)]

    def _tell(self) -> None:
        """Tell once of each thing that is wrong; the anchors that show it stay in the file."""
        findings, self._findings = self._findings, []
        for finding in findings:
            if finding.message in self._told:
                continue
            self._told.add(finding.message)
            message = f"the audit trail is broken: {finding.message}; look closer with  shoal audit verify"
            log.error("%s", message)
            with self._database.transaction() as session:
                record_event(session, "audit_broken", message[:1000], severity="error")
