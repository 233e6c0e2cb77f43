"""The TUF repository in the database (The Update Framework v1.0), on python-tuf's base class.

It edits what online keys sign: `models`, the models' roles, snapshot and timestamp. What offline keys sign is changed
by `staging.py`. One instance works within one transaction, whose lock makes writers take turns.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from securesystemslib.signer import Signer
from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, func, update
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.repository import Repository
from typing_extensions import override

from shoal_contract.ids import sha256_hex
from shoal_contract.limits import MAX_METADATA_BYTES
from shoal_contract.trust import MODELS_ROLE, epoch_of, manifest_target, model_paths, model_role
from shoal_hub.bulk import Query
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError
from shoal_hub.trust.errors import SignerError, TrustError
from shoal_hub.trust.roles import (
    KEPT_VERSIONS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Lives,
    delegator_of,
    file_name,
)
from shoal_hub.trust.signers import SignerStore
from shoal_hub.trust.signing import add_signature
from shoal_hub.trust.tables import TrustMetadata, TrustWriter

_NEW: Final = {ROOT: Root, SNAPSHOT: Snapshot, TIMESTAMP: Timestamp}


class Standing(NamedTuple):
    """One role's metadata in force: its version and its end."""

    role: str
    version: int
    expires_at: datetime


class InForce(NamedTuple):
    """One role's metadata in force, with its bytes."""

    role: str
    version: int
    expires_at: datetime
    content: bytes


class TrustRepository(Repository):
    """Metadata of one transaction.

    Args:
        session: An open transaction that holds the writers' lock, or a session to read.
        online: Signs what the hub signs by itself.
        offline: Signs offline roles where their keys lie on the hub.
        lives: How long metadata is valid.
        now: The clock; also numbers versions, as Unix milliseconds.
        floor: A version that is known to be out: new ones are above it.

    Attributes:
        unsigned: Online roles that `renew` could not sign, each with what was in the way.
    """

    def __init__(
        self, session: Session, online: SignerStore, offline: SignerStore, lives: Lives, now: datetime, floor: int = 0
    ) -> None:
        self.session = session
        self.online = online
        self.offline = offline
        self.lives = lives
        self.now = now.replace(microsecond=0)
        self.unsigned: dict[str, TrustError] = {}
        self._number = max(int(now.timestamp() * 1000), floor + 1)
        self._stored = 0

    @override
    def open(self, role: str) -> Metadata[Any]:
        """Return a copy of a role's metadata in force; a first version where there is none."""
        row = self.newest(role)
        return Metadata.from_bytes(row.content) if row is not None else Metadata(_NEW.get(role, Targets)())

    @override
    def close(self, role: str, md: Metadata[Any]) -> None:
        """Number, sign and store the next version of an online role.

        Raises:
            SignerError: None of the role's keys is here, or its token does not answer.
            ConflictError: It is larger than devices take.
        """
        self.prepare(role, md)
        for signer in self.signers(role):
            add_signature(md, signer, role)
        try:
            self.delegator(role).verify_delegate(role, md.signed_bytes, md.signatures)
        except UnsignedMetadataError as error:
            raise _unsigned(role) from error
        self.store(role, md)

    @property
    @override
    def targets_infos(self) -> dict[str, MetaFile]:
        """What the next snapshot lists: versions, sizes and hashes of all targets metadata."""
        listed = self.snapshot().meta
        infos: dict[str, MetaFile] = {}
        for role, version in _VERSIONS.rows(self.session):
            name = file_name(role)
            if role in {ROOT, SNAPSHOT, TIMESTAMP}:
                continue
            old = listed.get(name)
            infos[name] = old if old is not None and old.version == version else self._info(role)
        return infos

    @property
    @override
    def snapshot_info(self) -> MetaFile:
        """What the next timestamp says of the snapshot."""
        return self._info(SNAPSHOT)

    def newest(self, role: str) -> InForce | None:
        """Return a role's metadata in force."""
        rows = _NEWEST.rows(self.session, of_role=role)
        return InForce(*rows[0]) if rows else None

    def standing(self) -> list[Standing]:
        """Return what is in force, without the metadata itself."""
        self.session.flush()  # they are read by column
        return list({row[0]: Standing(*row) for row in _ALL.rows(self.session)}.values())

    def delegator(self, role: str) -> Root | Targets:
        """Return the metadata in force that names a role's keys."""
        delegator = delegator_of(role)
        return self.root() if delegator == ROOT else self.targets(delegator)

    def signers(self, role: str) -> Iterator[Signer]:
        """Yield what signs for a role and is here."""
        delegator = self.delegator(role)
        for key_id in delegator.get_delegated_role(role).keyids:
            signer = self.online.signer(delegator.get_key(key_id))
            if signer is not None:
                yield signer

    def prepare(self, role: str, md: Metadata[Any]) -> None:
        """Give metadata its next version and its time, and take its signatures off.

        Raises:
            ConflictError: It is larger than devices take.
        """
        before = self.newest(role)
        previous = before.version if before is not None else 0
        md.signed.version = previous + 1 if role == ROOT else max(previous + 1, self._number)
        md.signed.expires = self.now + self.lives.of(role)
        md.signatures.clear()
        _check_size(role, md)

    def store(self, role: str, md: Metadata[Any]) -> None:
        """Put signed metadata in force; what is older than the version before goes."""
        row = TrustMetadata(
            role=role,
            version=md.signed.version,
            content=md.to_bytes(),
            created_at=self.now,
            expires_at=md.signed.expires,
        )
        self.session.add(row)
        self.session.flush()
        if role != ROOT:
            kept = min(version for (version,) in _KEPT.rows(self.session, of_role=role))
            old = delete(TrustMetadata).where(col(TrustMetadata.role) == role, col(TrustMetadata.version) < kept)
            self.session.connection().execute(old)
        self.session.connection().execute(_WRITTEN)
        self._stored += 1
        announce(self.session, "trust")

    def online_targets(self) -> list[str]:
        """Return the roles with targets metadata that the hub signs by itself."""
        delegations = self.targets(MODELS_ROLE).delegations
        return [MODELS_ROLE, *(delegations.roles or {} if delegations else {})]

    def renew(self, *, force: bool = False) -> bool:
        """Sign again what is half through its life, is not signed as its delegator asks, or everything.

        A role whose key is not here, is damaged or does not answer is passed over and noted in `unsigned`: it must not
        keep the timestamp from renewal.

        Returns:
            Whether there is anything new.
        """
        before = self._stored
        for role in self.online_targets():
            if force or self._must_sign(role):
                self._try(role, lambda role=role: self._sign_again(role))  # type: ignore[misc]  # binds the role
        self._try(SNAPSHOT, lambda: self.do_snapshot(force or self._is_half_over(SNAPSHOT)))
        self._try(TIMESTAMP, lambda: self.do_timestamp(force or self._is_half_over(TIMESTAMP)))
        return self._stored != before

    @contextmanager
    def keeping_sound(self) -> Iterator[None]:
        """Refuse a change of keys after which devices could not verify what they could before.

        A role that was so before may stay so: what replaces one lost key must not wait for another.

        Raises:
            SignerError: An online role could not be signed as the new keys ask; the transaction must not be kept.
        """
        before = self._unsound()
        yield
        for role in sorted(self._unsound() - before):
            error = self.unsigned.get(role)
            found = error.message if error else "it is not signed"
            raise SignerError(
                f"publishing: devices could not verify {role} afterwards: {found}",
                error.remedy if error else f"rotate it too: shoal trust rotate {role}",
            ) from error

    def _unsound(self) -> set[str]:
        """Return the online roles that are not signed as the metadata above them asks, or tell of an older snapshot."""
        if self.newest(ROOT) is None:
            return set()
        found = {role for role in (*self.online_targets(), SNAPSHOT, TIMESTAMP) if not self._is_signed(role)}
        newest = self.newest(SNAPSHOT)
        if newest is None or self.timestamp().snapshot_meta.version != newest.version:
            found.add(TIMESTAMP)
        return found

    def list_manifest(self, model: str, version: int, data: bytes) -> None:
        """Have a model's role list a manifest; one that it lists already changes nothing.

        Raises:
            SignerError: The role's key is not here.
            ConflictError: The role lists more already than devices take with one more.
        """
        role, path = model_role(model), manifest_target(model, version, sha256_hex(data))
        if role not in self.online_targets():
            self._delegate_model(model)
        elif path in self.targets(role).targets:
            return
        with self.edit_targets(role) as targets:
            targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.do_snapshot()
        self.do_timestamp()

    def check_manifest(self, model: str, version: int, data: bytes) -> None:
        """See that `list_manifest` could list a manifest; nothing is made, signed or stored.

        Raises:
            SignerError, ConflictError: As by `list_manifest`.
        """
        role, path = model_role(model), manifest_target(model, version, sha256_hex(data))
        if self.newest(ROOT) is None or role not in self.online_targets() or path in self.targets(role).targets:
            return
        md = self.open(role)
        md.signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.prepare(role, md)
        if next(self.signers(role), None) is None:
            raise _unsigned(role)

    def director_epoch(self) -> int:
        """Return the epoch of the director key that the targets metadata in force names; 0 for none."""
        row = self.newest(TARGETS)
        return _epoch_named(row.content) if row is not None else 0

    def _sign_again(self, role: str) -> None:
        with self.edit_targets(role):
            pass

    def _try(self, role: str, sign: Callable[[], object]) -> None:
        try:
            sign()
        except TrustError as error:
            self.unsigned[role] = error

    def _delegate_model(self, model: str) -> None:
        role = model_role(model)
        with self.edit_targets(MODELS_ROLE) as models:
            if models.delegations is None:
                models.delegations = Delegations({}, {})
            assert models.delegations.roles is not None  # noqa: S101 - this hub makes no succinct roles
            models.delegations.roles[role] = DelegatedRole(role, [], 1, terminating=True, paths=[model_paths(model)])
            models.add_key(self.online.make(), role)

    def _must_sign(self, role: str) -> bool:
        return not self._is_signed(role) or self._is_half_over(role)

    def _is_signed(self, role: str) -> bool:
        md = self.open(role)
        try:
            self.delegator(role).verify_delegate(role, md.signed_bytes, md.signatures)
        except UnsignedMetadataError:
            return False
        return True

    def _is_half_over(self, role: str) -> bool:
        row = self.newest(role)
        return row is None or is_half_over(row, self.lives, self.now)

    def _info(self, role: str) -> MetaFile:
        row = self.newest(role)
        if row is None:
            msg = f"the role {role} has no metadata"
            raise RepositoryError(msg)
        return MetaFile(row.version, len(row.content), {"sha256": sha256_hex(row.content)})


_OF_ROLE: Final = col(TrustMetadata.role) == bindparam("of_role")
_NEWEST_FIRST: Final = col(TrustMetadata.version).desc()
_NEWEST: Final = Query(
    select_columns(*(getattr(TrustMetadata, name) for name in InForce._fields))
    .where(_OF_ROLE)
    .order_by(_NEWEST_FIRST)
    .limit(1)
)
_KEPT: Final = Query(
    select_columns(col(TrustMetadata.version)).where(_OF_ROLE).order_by(_NEWEST_FIRST).limit(KEPT_VERSIONS)
)
_WRITTEN: Final = update(TrustWriter).values(number=col(TrustWriter.number) + 1)
_VERSIONS: Final = Query(
    select_columns(col(TrustMetadata.role), func.max(TrustMetadata.version)).group_by(col(TrustMetadata.role))
)
_ALL: Final = Query(
    select_columns(*(getattr(TrustMetadata, name) for name in Standing._fields)).order_by(col(TrustMetadata.version))
)
_WRITES: Final = Query(select_columns(col(TrustWriter.number)).where(col(TrustWriter.id) == 1))


def count_writes(session: Session) -> int:
    """Return how often metadata was written: as long as this is the same, so is all of it."""
    [(number,)] = _WRITES.rows(session)
    return int(number)


@lru_cache(maxsize=1)  # it is asked for at every tick, and to read metadata takes longer than to fetch it
def _epoch_named(content: bytes) -> int:
    return newest_epoch(Metadata[Targets].from_bytes(content).signed)


def _unsigned(role: str) -> SignerError:
    return SignerError(
        f"signing the metadata of the role {role}: none of its keys is at this hub",
        f"give it a new key: shoal trust rotate {role}",
    )


def _check_size(role: str, md: Metadata[Any]) -> None:
    size_bytes = len(md.to_bytes())
    if size_bytes > MAX_METADATA_BYTES:
        is_models_own = role.startswith(f"{MODELS_ROLE}/")
        raise ConflictError(
            f"preparing the metadata of the role {role}: it would have {size_bytes} bytes, "
            f"devices take {MAX_METADATA_BYTES}",
            "register further versions as another model, which has a role of its own"
            if is_models_own
            else "spread the models over more than one hub",
        )


def is_half_over(row: Standing | InForce, lives: Lives, now: datetime) -> bool:
    """Whether metadata is to be renewed."""
    return now >= row.expires_at - lives.of(row.role) / 2


def newest_epoch(targets: Targets) -> int:
    """Return the highest epoch of the director roles that targets metadata delegates to; 0 for none."""
    roles = targets.delegations.roles if targets.delegations else None
    return max((epoch_of(role) or 0 for role in roles or {}), default=0)
