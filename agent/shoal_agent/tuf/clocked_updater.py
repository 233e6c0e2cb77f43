"""The one place that reaches into python-tuf: its client at a time that we say, and the roles that it has verified.

`tuf.ngclient.Updater` takes the system clock, which a board without a battery does not have, and shows neither root
nor the delegations of the top-level targets. Tests pin the private names: `_trusted_set`, `_fetcher`,
`_persist_file`, `_update_root_symlink`.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root, Signed, Snapshot, Targets, Timestamp

from shoal_agent.tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class ClockedUpdater(Updater):
    """python-tuf's client at the trusted time.

    Args:
        metadata_dir: Where verified metadata is kept.
        metadata_url: What the names of metadata are appended to.
        fetcher: Reads them.
        config: Bounds.
        bootstrap: The root to begin with; None takes the one in `metadata_dir`.
        now: Trusted time; expiry is checked against it.
    """

    def __init__(
        self,
        metadata_dir: str,
        metadata_url: str,
        fetcher: FetcherInterface,
        config: UpdaterConfig,
        *,
        bootstrap: bytes | None,
        now: datetime,
    ) -> None:
        super().__init__(metadata_dir, metadata_url, fetcher=fetcher, config=config, bootstrap=bootstrap)
        self._trusted_set.reference_time = now

    @property
    def root(self) -> Root:
        """The newest root that was verified."""
        return self._trusted_set.root

    @property
    def timestamp(self) -> Timestamp:
        """The timestamp that was verified."""
        return self._trusted_set.timestamp

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that was verified."""
        return self._trusted_set.snapshot

    @property
    def top_targets(self) -> Targets:
        """The top-level targets that were verified."""
        return self._trusted_set.targets

    def is_expired(self, now: datetime) -> bool:
        """Whether any of what was verified has expired since; what is loaded later is checked at `now`."""
        self._trusted_set.reference_time = now
        verified: Iterable[Signed] = iter(self._trusted_set)
        return any(signed.is_expired(now) for signed in verified)

    def _persist_file(self, filename: str, data: bytes) -> None:
        """Keep a file, unless it is there already: python-tuf writes the root again at every start of a refresh."""
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:
            super()._persist_file(filename, data)

    def _update_root_symlink(self) -> None:
        """Point `root.json` at the newest root, unless it does: python-tuf makes the link anew twice a refresh."""
        link = Path(self._dir, "root.json")
        if not link.is_symlink() or link.readlink() != Path("root_history", f"{self.root.version}.root.json"):
            super()._update_root_symlink()

    def read_with(self, fetcher: FetcherInterface) -> None:
        """Read what is still missing with another fetcher than before."""
        self._fetcher = fetcher
