"""Encrypted versions: the version's key, and the ciphertexts of its variants, which alone leave the hub."""

import secrets
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import LargeBinary, and_, or_
from sqlmodel import Field, Session, SQLModel, col, select
from typing_extensions import Self

from shoal_contract.encryption import KEY_BYTES, encrypt_file, encrypted_size
from shoal_hub.alerts.channels import reseal_channels
from shoal_hub.audit.actor import COMMAND_LINE
from shoal_hub.audit.record import record
from shoal_hub.database import SECRET, Database, UtcDateTime, announce
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.registry.versions import find_variants
from shoal_hub.trust.version_keys import VersionKeys


class VersionRef(NamedTuple):
    """Which version; its row also holds baselines that may take megabytes."""

    id: int
    model: str
    number: int

    @classmethod
    def of(cls, version: Version) -> Self:
        """Return which version a row is."""
        return cls(version.id or 0, version.model, version.number)

    @property
    def name(self) -> str:
        """Its name in words, which its key is sealed under."""
        return f"{self.model} version {self.number}"


class VariantFile(NamedTuple):
    """The plain file of a variant, and the version that it is of."""

    sha256: str
    version: VersionRef
    is_encrypted: bool


class VersionKeyRow(SQLModel, table=True):
    """An encrypted version's key, sealed by a key in the trust folder. It is never replaced: make a new version."""

    __tablename__ = "version_keys"

    version_id: int = Field(primary_key=True, foreign_key="versions.id")
    sealed: bytes = Field(sa_type=LargeBinary, sa_column_kwargs={"info": SECRET})
    created_at: datetime = Field(sa_type=UtcDateTime)


def mark_encrypted(session: Session, version: Version, *, by: str) -> None:
    """Have a version leave the hub encrypted only; one that is so already is left as it is.

    Raises:
        ConflictError: It has gone out unencrypted.
    """
    if version.is_encrypted:
        return
    if version.manifest_sha256 is not None:
        raise ConflictError(
            f"encrypting {version.model} version {version.number}: it has been rolled out, so its file lies on devices "
            "unencrypted and may stand at the broker",
            "register it again as a new version: shoal models register FOLDER --encrypted",
        )
    version.is_encrypted = True
    session.add(version)
    message = f"{version.model} version {version.number} leaves the hub encrypted only, by {by}"
    record_event(session, "version_encrypted", message, subject=f"model/{version.model}")
    announce(session, "models")


def encrypt_variants(
    session: Session, store: ArtifactStore, keys: VersionKeys, version: Version, now: datetime
) -> None:
    """Store the ciphertexts that an encrypted version's variants lack; the version's key is made at the first."""
    if not version.is_encrypted:
        return
    for variant in find_variants(session, version):
        if variant.encrypted is None:
            key = _version_key(session, keys, version, now)
            stored = store_artifact(session, store, encrypt_file(store.read(variant.sha256), key))
            variant.encrypted_sha256, variant.encrypted_size_bytes = stored
            session.add(variant)
    session.flush()


def open_version_key(session: Session, keys: VersionKeys, version: VersionRef) -> bytes | None:
    """Return an encrypted version's key, None before it has one.

    Raises:
        TrustError: The key that sealed it is not in the trust folder.
    """
    row = session.get(VersionKeyRow, version.id)
    return None if row is None else keys.unseal(row.sealed, version.name)


def reseal_version_keys(database: Database, keys: VersionKeys) -> int:
    """Seal every version's key, and the alert channels, by a new key of the trust folder; return how many versions.

    Safe beside a hub that runs, and to do again after it was cut off: what opened before opens at any moment.

    Raises:
        TrustError: A version's key does not open; nothing has been sealed again.
    """
    keys.begin_next()
    with database.transaction() as session:
        rows = session.exec(select(VersionKeyRow, Version.model, Version.number).join(Version)).all()
        for row, model, number in rows:
            name = VersionRef(row.version_id, model, number).name
            row.sealed = keys.seal(keys.unseal(row.sealed, name), name)
            session.add(row)
        reseal_channels(session, keys)
        record(session, COMMAND_LINE, "registry.reseal_version_keys", "version_keys", {}, {"versions": len(rows)})
        record_event(session, "version_keys_resealed", f"the keys of {len(rows)} versions are sealed by a new key")
    keys.retire()
    return len(rows)


def travels_as(sha256: str, encrypted_sha256: str | None, *, is_encrypted: bool) -> str | None:
    """Return the artifact that devices fetch of a variant: its file or, where the version is encrypted, its ciphertext.

    None before there is one: the plain file never stands in for it.
    """
    return encrypted_sha256 if is_encrypted else sha256


def travelling_size(variant: VariantRow, *, is_encrypted: bool) -> int:
    """Return the bytes of what travels of a variant, also where its ciphertext is still to be made."""
    is_to_come = is_encrypted and variant.encrypted_sha256 is None
    return encrypted_size(variant.size_bytes) if is_to_come else variant.travelling_bytes


def find_file(session: Session, sha256: str) -> VariantFile | None:
    """Return the variant's file of which `sha256` is what travels, see `travels_as`; None for one of no version."""
    columns = select(VariantRow.sha256, Version.id, Version.model, Version.number)
    is_plain = and_(col(Version.is_encrypted).is_(False), col(VariantRow.sha256) == sha256)
    is_sealed = and_(col(Version.is_encrypted).is_(True), col(VariantRow.encrypted_sha256) == sha256)
    joined = columns.join(Version, col(Version.id) == col(VariantRow.version_id))
    found = session.exec(joined.where(or_(is_plain, is_sealed)).limit(1)).first()
    if found is None:
        return None
    plain, version_id, model, number = found
    return VariantFile(plain, VersionRef(version_id or 0, model, number), is_encrypted=plain != sha256)


def _version_key(session: Session, keys: VersionKeys, version: Version, now: datetime) -> bytes:
    ref = VersionRef.of(version)
    key = open_version_key(session, keys, ref)
    if key is None:
        key = secrets.token_bytes(KEY_BYTES)
        row = VersionKeyRow(version_id=ref.id, sealed=keys.seal(key, ref.name), created_at=now)
        session.add(row)
        session.flush()
    return key
