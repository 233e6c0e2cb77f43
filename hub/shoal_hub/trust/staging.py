"""Changes of what offline keys sign: drafted at the hub, signed wherever the keys are, published all at once.

Root, targets and code are staged together: each is verified by the one before, so a set is in force whole or not at
all. Where the keys lie on the hub, a change is drafted, signed and published in one go.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from securesystemslib.signer import Key, Signer
from sqlmodel import delete, select
from tuf.api.metadata import Metadata, Root, Targets

from shoal_client.tuf import SigningRequest
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.trust.repository import TrustRepository, is_half_over
from shoal_hub.trust.roles import OFFLINE, ROOT, TARGETS
from shoal_hub.trust.signing import (
    AnyMetadata,
    Documents,
    describe_changes,
    merge_signatures,
    missing_signatures,
    parse_metadata,
    sign_staged,
)
from shoal_hub.trust.tables import StagedMetadata


class Staging:
    """The staged changes of one repository, within its transaction."""

    def __init__(self, repository: TrustRepository) -> None:
        self._repository = repository
        self._session = repository.session

    def current(self) -> dict[str, AnyMetadata]:
        """Return what is in force of the offline roles."""
        return {role: self._repository.open(role) for role in OFFLINE if self._repository.newest(role) is not None}

    def staged(self) -> dict[str, AnyMetadata]:
        """Return what waits, in the order of publication."""
        rows = {row.role: row for row in self._session.exec(select(StagedMetadata)).all()}
        return {role: AnyMetadata.from_bytes(rows[role].content) for role in OFFLINE if role in rows}

    def latest_targets(self) -> Targets:
        """Return the targets metadata that waits for signatures; where none does, what is in force."""
        draft = self.staged().get(TARGETS)
        found = draft.signed if draft is not None else self._repository.targets()
        assert isinstance(found, Targets)  # noqa: S101 - stored by this role
        return found

    @contextmanager
    def edit_root(self) -> Iterator[Root]:
        """Draft the next root: what is staged of it already, or a copy of the one in force."""
        with self._draft(ROOT) as signed:
            assert isinstance(signed, Root)  # noqa: S101 - stored by this role
            yield signed

    @contextmanager
    def edit_targets(self, role: str = TARGETS) -> Iterator[Targets]:
        """Draft the next targets metadata of `targets` or `code`, see `edit_root`."""
        with self._draft(role) as signed:
            assert isinstance(signed, Targets)  # noqa: S101 - stored by this role
            yield signed

    def settle(self) -> bool:
        """Sign with the keys that are here, and publish if that is enough; return whether it was."""
        current, staged = self.current(), self.staged()
        if not staged:
            return False
        sign_staged(current, staged, self._signer)
        return self._keep_or_publish(current, staged)

    def take(self, signed: SigningRequest) -> bool:
        """Take signatures that were made elsewhere, and publish if there are enough; return whether there were.

        Raises:
            ConflictError: Nothing waits.
            MetadataError: It is not what is staged, or a signature does not hold.
        """
        current, staged = self.current(), self.staged()
        if not staged:
            raise _nothing_waits()
        handed_in = {role: parse_metadata(role, text.encode()) for role, text in signed.staged.items()}
        count = merge_signatures(current, staged, handed_in)
        record_event(self._session, "trust_signed", f"{count} signatures on staged trust metadata", subject="trust")
        return self._keep_or_publish(current, staged)

    def request(self) -> SigningRequest:
        """Return what has to travel to the offline keys.

        Raises:
            ConflictError: Nothing waits.
        """
        staged = self.staged()
        if not staged:
            raise _nothing_waits()
        return SigningRequest(current=_texts(self.current()), staged=_texts(staged))

    def discard(self) -> None:
        """Drop what is staged."""
        self._session.exec(delete(StagedMetadata))
        record_event(self._session, "trust_discarded", "staged trust metadata was dropped", subject="trust")
        announce(self._session, "trust")

    def renew(self) -> bool:
        """Draft again what is half through its life and not drafted yet; return whether anything was."""
        staged = self.staged()
        due = [
            row
            for role in OFFLINE
            if role not in staged and (row := self._repository.newest(role)) is not None
            if is_half_over(row, self._repository.lives, self._repository.now)
        ]
        for row in due:
            with self._draft(row.role):
                pass
        return bool(due)

    @contextmanager
    def _draft(self, role: str) -> Iterator[Root | Targets]:
        row = self._session.get(StagedMetadata, role)
        md = Metadata.from_bytes(row.content) if row is not None else self._repository.open(role)
        assert isinstance(md.signed, Root | Targets)  # noqa: S101 - the kinds of the offline roles
        yield md.signed
        self._repository.prepare(role, md)
        self._write(role, md)

    def _signer(self, key: Key) -> Signer | None:
        return self._repository.offline.signer(key)

    def _keep_or_publish(self, current: Documents, staged: Documents) -> bool:
        missing = missing_signatures(current, staged)
        if any(missing.values()):
            for role, md in staged.items():
                self._write(role, md)
            return False
        with self._repository.keeping_sound():
            for role in OFFLINE:
                if role in staged:
                    self._repository.store(role, staged[role])
                    lines = "; ".join(describe_changes(role, current.get(role), staged[role]))
                    record_event(self._session, "trust_published", f"{role}: {lines}"[:1000], subject=f"trust/{role}")
            self._session.exec(delete(StagedMetadata))
            self._repository.renew()
        return True

    def _write(self, role: str, md: AnyMetadata) -> None:
        self._session.merge(StagedMetadata(role=role, content=md.to_bytes(), created_at=self._repository.now))
        self._session.flush()
        announce(self._session, "trust")


def _texts(documents: Documents) -> dict[str, str]:
    return {role: md.to_bytes().decode() for role, md in documents.items()}


def _nothing_waits() -> ConflictError:
    return ConflictError("nothing waits for signatures", "begin with: shoal trust rotate ROLE")
