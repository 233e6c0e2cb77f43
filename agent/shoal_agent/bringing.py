"""Brings the files of one version into the store: room on the disk first, then a delta or the whole file."""

from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger

from shoal_agent.blobs import BlobStore
from shoal_agent.deltas import Deltas
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.errors import ArtifactError, NoRoomError
from shoal_agent.fetch import Fetcher
from shoal_agent.loading import Chosen, Loader
from shoal_agent.room import Room
from shoal_agent.slots import Slot
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.manifest import Variant

_log = getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The files of one model's versions, in the store and on their way into it."""

    name: str
    blobs: BlobStore
    fetcher: Fetcher
    encryption_key: EncryptionKey
    room: Room | None
    claimant: str
    """Who it is in the room: the model's name says not whether it serves or is tried."""

    def begin(self, wanted: DesiredModel) -> None:
        """Something is about to be fetched for a deployment, again or for the first time."""
        if self.room is not None:
            self.room.begin(self.claimant, wanted.deployment)

    async def bring(self, wanted: DesiredModel, held: Sequence[Slot], loader: Loader) -> tuple[Chosen, int]:
        """Have the manifest and the variant's file in the store.

        Args:
            wanted: Names both.
            held: What the device has of the model, for deltas.
            loader: Chooses the variant.

        Returns:
            The variant, and the bytes that travelled for its file.

        Raises:
            FetchError, LinkError: It can not be fetched yet.
            NoRoomError, DiskError: The disk has no room, or does not take it.
            ArtifactError: The manifest is another's, or has no variant that this device can run.
        """
        await self.check_stored(wanted.manifest)
        self._make_room(wanted, wanted.manifest)
        await self.fetcher.fetch(wanted.manifest, is_urgent=wanted.is_urgent)
        chosen = await loader.choose(wanted)
        if chosen.variant.encrypted:
            self.encryption_key.open(wanted.key, self.name, wanted.version)  # nothing is fetched that can not be read
        return chosen, await self._bring_file(chosen.variant, wanted, held)

    async def check_stored(self, ref: ArtifactRef) -> bool:
        """Hash what is in the store already, as disks do fail; a damaged file is thrown away.

        Returns:
            Whether it is there, and whole.
        """
        if self.blobs.has(ref.sha256):
            try:
                await self.blobs.work(self.blobs.check, ref.sha256)
            except ArtifactError as error:
                _log.warning("model %s: %s", self.name, error)
        return self.blobs.has(ref.sha256)

    def end(self) -> None:
        """Nothing more is fetched for now: what is not in a role may be deleted for others."""
        if self.room is not None:
            self.room.release(self.claimant)

    async def _bring_file(self, variant: Variant, wanted: DesiredModel, held: Sequence[Slot]) -> int:
        """Have the variant's file in the store, by a delta or as a whole; return the bytes that travelled for it."""
        ref, room = variant.travels_as, self.room
        await self.check_stored(ref)
        self._make_room(wanted, ref)

        def has_room(delta: ArtifactRef) -> bool:
            if room is None:
                return True
            room.claim(self.claimant, [delta])
            try:
                room.make(f"fetching a delta to {self.name} version {wanted.version}", [ref, delta])
            except NoRoomError:
                return False
            return True

        deltas = Deltas(self.name, self.blobs, self.fetcher, self.encryption_key, has_room)
        fetched_bytes = await deltas.bring(variant, wanted, held)
        if not self.blobs.has(ref.sha256):
            fetched_bytes += ref.size_bytes
            await self.fetcher.fetch(ref, is_urgent=wanted.is_urgent)
        return fetched_bytes

    def _make_room(self, wanted: DesiredModel, ref: ArtifactRef) -> None:
        if self.room is not None:  # in the event loop: nobody may need a file between the look and its deletion
            self.room.claim(self.claimant, [ref])
            self.room.make(f"fetching {self.name} version {wanted.version}", [ref])
