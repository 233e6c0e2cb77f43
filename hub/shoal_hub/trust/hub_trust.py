"""The hub's trust, opened: where its keys are and how long metadata lives. Every process has one.

Online keys lie in `trust/online`, and offline ones in `trust/offline` until a ceremony has taken their place.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from typing_extensions import Self

from shoal_client.tuf import Rotation
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET, MAX_CA_BUNDLE_BYTES
from shoal_hub.bulk import Query
from shoal_hub.database import Database, utc_now
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.settings import Settings
from shoal_hub.transfer.leases import drop_leases, lease_users, take_leases
from shoal_hub.trust.director import Director, director_epochs
from shoal_hub.trust.key_rotation import Rotator
from shoal_hub.trust.keystore import Keystore
from shoal_hub.trust.repository import TrustRepository
from shoal_hub.trust.roles import ROOT, TARGETS, Lives
from shoal_hub.trust.signers import SignerStore
from shoal_hub.trust.signing import AnyMetadata
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.tables import StagedMetadata, TrustMetadata, TrustTarget, TrustWriter

CA_BUNDLE_LEASE: Final = "trust/ca/"
"""Who leases a CA bundle at the broker: this and the bundle's hash."""
_CA_FILE: Final = "ca.pem"


class HubTrust:
    """Gives repositories over sessions.

    Args:
        trust_dir: The folder of the hub's keys.
        lives: How long metadata is valid.
        artifacts: Where the CA bundle goes, for devices that fetch it over MQTT.
    """

    def __init__(self, trust_dir: Path, lives: Lives, artifacts: ArtifactStore) -> None:
        self.lives = lives
        self._artifacts = artifacts
        self._dir = trust_dir
        self._keys = Keystore.open(trust_dir)
        self.online = SignerStore(self._keys.at(trust_dir / "online"))
        self.offline = SignerStore(self._keys.at(trust_dir / "offline"))

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the trust of a data folder.

        Raises:
            TrustError: There are keys and no passphrase to open them.
        """
        lives = Lives(
            offline=timedelta(seconds=settings.trust_offline_life_s),
            online=timedelta(seconds=settings.trust_online_life_s),
            timestamp=timedelta(seconds=settings.trust_timestamp_life_s),
        )
        return cls(settings.data / "trust", lives, ArtifactStore(settings.artifacts))

    def reading(self, session: Session) -> TrustRepository:
        """Return the repository as it stands, to read."""
        return TrustRepository(session, self.online, self.offline, self.lives, utc_now())

    def writing(self, session: Session, now: datetime | None = None, floor: int = 0) -> TrustRepository:
        """Return the repository with the writers' lock, until the session's transaction ends.

        The first writer of all makes keys and metadata.

        Args:
            session: An open transaction.
            now: The clock.
            floor: A version that is known to be out: new ones are above it.
        """
        session.get_one(TrustWriter, 1, with_for_update=True, populate_existing=True)
        repository = TrustRepository(session, self.online, self.offline, self.lives, now or utc_now(), floor)
        if repository.newest(ROOT) is None:
            Rotator(repository, self._keys).begin()
            if (self._dir / _CA_FILE).exists():
                self.publish_ca_bundle(session, (self._dir / _CA_FILE).read_text())
        return repository

    def rotate(self, session: Session, rotation: Rotation) -> bool:
        """Give a role new keys, see `Rotator.rotate`."""
        is_done = Rotator(self.writing(session), self._keys).rotate(rotation)
        how = "is in force" if is_done else "waits for signatures by offline keys: shoal trust sign --keys FOLDER"
        record_event(session, "trust_rotated", f"new keys for {rotation.role}: {how}", subject=f"trust/{rotation.role}")
        return is_done

    def publish_ca_bundle(self, session: Session, pem: str) -> bool:
        """Have the top-level targets list these CA certificates as what devices may trust their hub by.

        Args:
            session: An open transaction.
            pem: Every certificate, one after the other.

        Returns:
            Whether it is in force; otherwise it waits for signatures by offline keys.

        Raises:
            InvalidInputError: It is larger than devices take.
        """
        data = pem.encode()
        if len(data) > MAX_CA_BUNDLE_BYTES:
            raise InvalidInputError(
                f"the CA bundle has {len(data)} bytes, devices take {MAX_CA_BUNDLE_BYTES}", "leave old CAs out"
            )
        repository = self.writing(session)
        info = TargetFile.from_data(CA_BUNDLE_TARGET, data, ["sha256"])
        staging = Staging(repository)
        if staging.latest_targets().targets.get(CA_BUNDLE_TARGET) == info:
            return TARGETS not in staging.staged()
        self._offer_ca_bundle(repository, data)
        with staging.edit_targets() as targets:
            targets.targets[CA_BUNDLE_TARGET] = info
        return staging.settle()

    def mend_ca_bundle(self, database: Database) -> None:
        """List the devices' CAs as they stand, where a crash or a restored backup has left something else listed.

        The CA's files are written before the transaction that lists them; this is called by level.
        """
        path = self._dir / _CA_FILE
        if not path.exists():
            return
        pem = path.read_text()
        with database.session() as session:
            if self._is_told(session, pem):
                return
        with database.transaction() as session:
            self.publish_ca_bundle(session, pem)

    def _is_told(self, session: Session, pem: str) -> bool:
        """Whether devices are told to trust just these CAs, or will be once what waits has been signed."""
        repository = self.reading(session)
        in_force = repository.newest(TARGETS)
        if in_force is None:
            return True  # the first metadata lists them
        staged = _STAGED_TARGETS.rows(session)
        sha256 = _listed_bundle(staged[0][0] if staged else in_force.content)
        rows = _BUNDLE.rows(session, hash=sha256) if sha256 is not None else []
        return any(_are_same(bundle, pem.encode()) for (bundle,) in rows)

    def _offer_ca_bundle(self, repository: TrustRepository, data: bytes) -> None:
        """Have a bundle stand for devices, beside the one that is listed now; older ones are let go."""
        session, sha256 = repository.session, sha256_hex(data)
        listed = repository.targets().targets.get(CA_BUNDLE_TARGET)
        kept = {sha256, listed.hashes["sha256"] if listed is not None else sha256}
        for user in lease_users(session):
            if user.startswith(CA_BUNDLE_LEASE) and user.removeprefix(CA_BUNDLE_LEASE) not in kept:
                drop_leases(session, user)
        store_artifact(session, self._artifacts, data)
        take_leases(session, f"{CA_BUNDLE_LEASE}{sha256}", [sha256], repository.now)
        session.merge(TrustTarget(path=CA_BUNDLE_TARGET, sha256=sha256, content=data))

    def root_text(self, session: Session) -> str:
        """Return the newest root metadata (JSON), which a device trusts from its enrolment on."""
        row = self.reading(session).newest(ROOT) or self.writing(session).newest(ROOT)
        assert row is not None  # noqa: S101 - the writer has made it
        return row.content.decode()

    def follow(self, session: Session, director: Director) -> bool:
        """Have the director sign by the key that the published targets name; return whether it is another one.

        Raises:
            TrustError: That key is not here.
        """
        return director.follow(self.reading(session).director_epoch())

    def has_director(self, epoch: int) -> bool:
        """Whether the director's key of an epoch is here."""
        return epoch in director_epochs(self._keys)

    def sweep(self, session: Session) -> list[str]:
        """Erase keys that no metadata names, in force or staged; called after what replaced them has been committed."""
        in_force = {(row.role, row.version) for row in self.writing(session).standing()}
        rows = [row.content for row in session.exec(select(TrustMetadata)) if (row.role, row.version) in in_force]
        rows += [row.content for row in session.exec(select(StagedMetadata))]
        named = {key_id for content in rows for key_id in _key_ids(Metadata.from_bytes(content))}
        erased = []
        for store in (self.online, self.offline):
            for key_id in store.key_ids():
                if key_id not in named:
                    store.erase(key_id)
                    erased.append(key_id)
        return erased


_STAGED_TARGETS: Final = Query(select_columns(col(StagedMetadata.content)).where(col(StagedMetadata.role) == TARGETS))
_BUNDLE: Final = Query(
    select_columns(col(TrustTarget.content)).where(
        col(TrustTarget.path) == CA_BUNDLE_TARGET, col(TrustTarget.sha256) == bindparam("hash")
    )
)


@lru_cache(maxsize=1)  # it is asked for again and again, and to read metadata takes longer than to fetch it
def _listed_bundle(content: bytes) -> str | None:
    """Return the hash of the CA bundle that targets metadata lists."""
    info = Metadata[Targets].from_bytes(content).signed.targets.get(CA_BUNDLE_TARGET)
    return info.hashes["sha256"] if info is not None else None


def _are_same(bundle: bytes, other: bytes) -> bool:
    return bundle == other or _certificates(bundle) == _certificates(other)


def _certificates(pem: bytes) -> set[bytes]:
    """Return the certificates of a bundle, whose order is of no account."""
    return {one.fingerprint(hashes.SHA256()) for one in x509.load_pem_x509_certificates(pem)}


def _key_ids(md: AnyMetadata) -> Iterable[str]:
    if isinstance(md.signed, Root):
        return md.signed.keys
    if isinstance(md.signed, Targets) and md.signed.delegations is not None:
        return md.signed.delegations.keys
    return ()
