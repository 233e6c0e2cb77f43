"""The device's TUF client: python-tuf's `ngclient`, at trusted time, within bounds, over whatever fetcher is given.

Synchronous and for one thread at a time. A refresh that fails leaves what was trusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from logging import getLogger
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Key, Metadata, Root, TargetFile, Targets

from shoal_agent.clock import Clock
from shoal_agent.durable import make_folder
from shoal_agent.errors import DiskError
from shoal_agent.settings import TrustSettings
from shoal_agent.tuf.clocked_updater import ClockedUpdater
from shoal_agent.tuf.errors import TufError, from_tuf
from shoal_agent.tuf.fetchers import BoundedFetcher, NothingNewFetcher
from shoal_agent.tuf.ngclient import UpdaterConfig
from shoal_contract.limits import MAX_ROOT_BYTES
from shoal_contract.trust import CA_BUNDLE_TARGET, epoch_of

_log = getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_MS = int((datetime(9999, 1, 1, tzinfo=timezone.utc) - _EPOCH).total_seconds() * 1000)


@dataclass(frozen=True)
class TrustView:
    """What the verified metadata says."""

    root_version: int
    timestamp_version: int
    targets_version: int
    directors: Mapping[str, Ed25519PublicKey]
    """The directors' keys by role: those in the delegations of the top-level targets."""
    ca_bundle: tuple[str, int] | None
    """SHA-256 and size of the hub's CA certificates."""


class TufClient:
    """One device's view of one repository.

    Args:
        folder: Where verified metadata is kept.
        metadata_url: What names of metadata are appended to; only an HTTP fetcher minds what it is.
        root: The root that came with enrolment; None takes the one in `folder`.
        clock: Trusted time, which verified timestamps set.
        settings: Bounds.
    """

    def __init__(
        self, folder: Path, metadata_url: str, root: bytes | None, clock: Clock, settings: TrustSettings
    ) -> None:
        self._folder = folder
        self._metadata_url = metadata_url
        self._root = root
        self._clock = clock
        self._settings = settings
        self._updater: ClockedUpdater | None = None
        self._where = ""

    def refresh(self, fetcher: BoundedFetcher) -> TrustView:
        """Bring root, timestamp, snapshot and targets up to date.

        Raises:
            TufError: What came was refused, or did not come.
            DiskError: It can not be kept.
        """
        fetcher.begin()
        try:
            updater = self._refreshed(fetcher)
        except (RepositoryError, DownloadError) as error:
            raise from_tuf(error, fetcher.where) from error
        except OSError as error:
            raise DiskError(f"keeping trust metadata in {self._folder}: {error}", "free some disk space") from error
        self._learn_time(updater, fetcher)
        self._updater, self._where = updater, fetcher.where
        return _view(updater)

    def load(self) -> TrustView | None:
        """Return what the metadata on disk says, as far as it still holds; None where there is none.

        Raises:
            TufError: It is on disk, but has expired or is damaged.
        """
        try:
            timestamp = (self._folder / "timestamp.json").read_bytes()
        except OSError:
            return None
        return self.refresh(NothingNewFetcher(self._settings, timestamp))

    def find(self, path: str, fetcher: BoundedFetcher) -> TargetFile | None:
        """Return what the metadata of the last refresh says of a target; None where no role lists it.

        Raises:
            TufError: There is no metadata, or it has expired since, or a role's could not be had.
        """
        updater = self._current()
        updater.read_with(fetcher)
        fetcher.begin()
        try:
            return updater.get_targetinfo(path)
        except (RepositoryError, DownloadError) as error:
            raise from_tuf(error, fetcher.where) from error
        except OSError as error:
            raise DiskError(f"keeping trust metadata in {self._folder}: {error}", "free some disk space") from error

    def download(self, target: TargetFile, folder: Path, base_url: str, fetcher: BoundedFetcher) -> Path:
        """Return the path of a target's file below `folder`, fetched unless it is there already.

        Raises:
            TufError: It could not be had, or is not what was signed.
            DiskError: It can not be kept.
        """
        updater = self._current()
        updater.read_with(fetcher)
        updater.target_dir = str(folder)
        fetcher.begin()
        try:
            make_folder(folder)
            cached = updater.find_cached_target(target)
            return Path(cached or updater.download_target(target, target_base_url=base_url))
        except (RepositoryError, DownloadError) as error:
            raise from_tuf(error, fetcher.where) from error
        except OSError as error:
            raise DiskError(f"keeping target {target.path} in {folder}: {error}", "free some disk space") from error

    def _refreshed(self, fetcher: BoundedFetcher) -> ClockedUpdater:
        updater = self._open(fetcher)
        try:
            updater.refresh()
        except ExpiredMetadataError:
            # A stolen timestamp key may have signed a time far ahead. The root that takes its role away ends that.
            if not self._clock.disbelieve(updater.root.roles["timestamp"].keyids):
                raise
            updater = self._open(fetcher)
            updater.refresh()
        return updater

    def _open(self, fetcher: BoundedFetcher) -> ClockedUpdater:
        make_folder(self._folder, mode=0o700)
        settings = self._settings
        config = UpdaterConfig(
            max_root_rotations=settings.root_rotations,
            max_delegations=settings.delegations,
            root_max_length=MAX_ROOT_BYTES,
            timestamp_max_length=settings.timestamp_bytes,
            snapshot_max_length=settings.snapshot_bytes,
            targets_max_length=settings.targets_bytes,
        )
        return ClockedUpdater(
            str(self._folder), self._metadata_url, fetcher, config, bootstrap=self._root, now=self._clock()
        )

    def _learn_time(self, updater: ClockedUpdater, fetcher: BoundedFetcher) -> None:
        """Set the clock's floor: a timestamp's version is the time of its signing in Unix milliseconds.

        One beyond the root's own expiry is none: no timestamp is good under a root that has expired.

        Raises:
            TufError: The timestamp is older than one verified before, whose file the disk has lost.
        """
        version, keys = updater.timestamp.version, updater.root.roles["timestamp"].keyids
        issued_at = _EPOCH + timedelta(milliseconds=min(version, _LAST_MS))
        if issued_at > updater.root.expires:
            return
        if self._clock.is_replay(issued_at, keys):
            message = f"refreshing trust over {fetcher.where}: timestamp {version} is older than one verified before"
            raise TufError("tuf_rollback", message)
        self._clock.learn(issued_at, keys)

    def _current(self) -> ClockedUpdater:
        if self._updater is None:
            raise TufError("tuf_unavailable", "looking a target up: no metadata has been verified since the start")
        if self._updater.is_expired(self._clock()):
            raise TufError("tuf_expired", f"looking a target up: what came over {self._where} has expired since")
        return self._updater


def check_root(data: bytes) -> None:
    """Return if this is root metadata that enough of its own keys have signed.

    Raises:
        TufError: It is not.
    """
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
        metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, AttributeError) as error:  # of another role, there is no such method
        raise TufError("tuf_invalid", f"reading the hub's TUF root: {error}") from error


def _view(updater: ClockedUpdater) -> TrustView:
    bundle = updater.top_targets.targets.get(CA_BUNDLE_TARGET)
    return TrustView(
        root_version=updater.root.version,
        timestamp_version=updater.timestamp.version,
        targets_version=updater.top_targets.version,
        directors=_directors(updater.top_targets),
        ca_bundle=(bundle.hashes["sha256"], bundle.length) if bundle and "sha256" in bundle.hashes else None,
    )


def _directors(targets: Targets) -> dict[str, Ed25519PublicKey]:
    """Return the key of each role `director-N`; a role without exactly one Ed25519 key makes nobody a director.

    One that can not be read costs the others nothing.
    """
    delegations = targets.delegations
    if delegations is None or delegations.roles is None:
        return {}
    found = {}
    for name, role in delegations.roles.items():
        if epoch_of(name) is None:
            continue
        try:
            (key_id,) = role.keyids
            found[name] = _ed25519(delegations.keys[key_id])
        except (ValueError, KeyError) as error:
            _log.warning("%s is nobody: it has no single Ed25519 key that can be read (%s)", name, error)
    return found


def _ed25519(key: Key) -> Ed25519PublicKey:
    """Read a key in either of the forms that securesystemslib writes: hexadecimal or PEM."""
    text = str(key.keyval["public"])
    if not text.startswith("-----"):
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    found = serialization.load_pem_public_key(text.encode())
    if not isinstance(found, Ed25519PublicKey):
        msg = f"{type(found).__name__} found"
        raise ValueError(msg)  # noqa: TRY004 - the metadata is wrong, not the call
    return found
