"""Room on the disk for an update: what it needs, what is free, and what would have to go for it.

Only what no role of any model needs is ever deleted: what serves, the version before and a candidate stay, and so does
what another update is fetching.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from logging import getLogger

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import NoRoomError
from shoal_agent.settings import UpdateSettings
from shoal_contract.artifact_ref import ArtifactRef

_log = getLogger(__name__)


@dataclass(frozen=True)
class Shortage:
    """Why something does not fit, as it stands before anything is deleted. All in bytes.

    Attributes:
        needed_bytes: What is still to be written.
        free_bytes: What the disk has, without the reserve.
        kept_bytes: What is needed by roles, updates and federated rounds.
        evictable: What may be deleted for it, by hash.
        max_bytes: The owner's budget; 0: none.
    """

    needed_bytes: int
    free_bytes: int
    kept_bytes: int
    evictable: dict[str, int]
    max_bytes: int

    @property
    def to_evict(self) -> tuple[str, ...] | None:
        """What has to go, largest first and no more than that; None if even all of it is not enough."""
        used = self.kept_bytes + sum(self.evictable.values())
        over_disk = self.needed_bytes - self.free_bytes
        over_budget = used + self.needed_bytes - self.max_bytes if self.max_bytes else 0
        missing = max(over_disk, over_budget) if self.needed_bytes else 0
        chosen: list[str] = []
        for sha256, size in sorted(self.evictable.items(), key=lambda one: (-one[1], one[0])):
            if missing <= 0:
                break
            chosen.append(sha256)
            missing -= size
        return tuple(chosen) if missing <= 0 else None

    def said(self) -> str:
        """Return needed, free and what would go as a part of a sentence."""
        left = max(0, self.max_bytes - self.kept_bytes)
        budget = f", {left} left of the budget of {self.max_bytes}" if self.max_bytes else ""
        gone = f"; deleting the {len(self.evictable)} files that nothing needs gives {sum(self.evictable.values())}"
        return f"{self.needed_bytes} bytes needed, {max(0, self.free_bytes)} free beyond the reserve{budget}{gone}"


@dataclass
class Room:
    """The disk that all models of a device share.

    Attributes:
        blobs: The store.
        settings: Reserve and budget.
        needed: Gives the hashes that roles and federated rounds need.
    """

    blobs: BlobStore
    settings: UpdateSettings
    needed: Callable[[], Collection[str]]
    _claims: dict[str, set[str]] = field(default_factory=dict)
    _deployments: dict[str, str] = field(default_factory=dict)

    def begin(self, claimant: str, deployment: str) -> None:
        """Let go of what another deployment had the claimant fetch; what this one has claimed before stays claimed."""
        if self._deployments.get(claimant) != deployment:
            self.release(claimant)
            self._deployments[claimant] = deployment

    def claim(self, claimant: str, refs: Iterable[ArtifactRef]) -> None:
        """Note what an update fetches: it is nobody else's to delete.

        Args:
            claimant: Whose update; a model that serves and a candidate of the same name that is tried are two.
            refs: The files.
        """
        self._claims.setdefault(claimant, set()).update(ref.sha256 for ref in refs)

    def release(self, claimant: str) -> None:
        """Forget what an update fetches; what it needs is in its model's roles by now, or not needed."""
        self._claims.pop(claimant, None)
        self._deployments.pop(claimant, None)

    def look(self, refs: Iterable[ArtifactRef] = ()) -> Shortage:
        """Return how things stand for files that are to be had: what is there of them already is not needed again.

        Raises:
            DiskError: The disk can not be asked.
        """
        sizes, wanted = self.blobs.sizes(), {ref.sha256: ref.size_bytes for ref in refs}
        kept = set(self.needed()).union(*self._claims.values()) | wanted.keys()
        there = {sha256: sizes.get(sha256, 0) for sha256 in wanted}
        return Shortage(
            needed_bytes=sum(
                0 if self.blobs.has(sha256) else max(0, size - there[sha256]) for sha256, size in wanted.items()
            ),
            free_bytes=self.blobs.free_bytes() - self.settings.reserve_bytes,
            kept_bytes=sum(size for sha256, size in sizes.items() if sha256 in kept),
            evictable={sha256: size for sha256, size in sizes.items() if sha256 not in kept},
            max_bytes=self.settings.max_models_bytes,
        )

    def has(self, refs: Iterable[ArtifactRef]) -> bool:
        """Whether files fit, with what may be deleted for them."""
        return self.look(refs).to_evict is not None

    def make(self, doing: str, refs: Iterable[ArtifactRef]) -> None:
        """Delete what has to go for files that are about to be fetched.

        Raises:
            NoRoomError: They do not fit all the same; nothing is deleted.
            DiskError: The disk can not be asked, or does not let something go.
        """
        shortage = self.look(refs)
        to_evict = shortage.to_evict
        if to_evict is None:
            remedy = "free some disk space, take a model off this device, or change --reserve-mb or --max-models-mb"
            raise NoRoomError(f"{doing}: {shortage.said()}", remedy)
        for sha256 in to_evict:
            _log.info("%s: deleting %s, which nothing needs (%d bytes)", doing, sha256, shortage.evictable[sha256])
            self.blobs.evict(sha256)
