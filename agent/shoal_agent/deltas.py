"""Makes a variant's file of one that the device has and a delta, so that less of it has to travel.

A delta is untrusted: what it makes has to be the very file that the signed manifest names, and it never takes more
memory than that file has bytes. Whatever is wrong with it, the whole file is fetched in its place.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import getLogger

from anyio import to_thread

from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.errors import AgentError, ArtifactError, BudgetError, DiskError, LinkError
from shoal_agent.fetch import Fetcher
from shoal_agent.slots import Slot
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import CHUNK_BYTES, WrappedKey, decrypt_file, delta_key, encrypt_chunks
from shoal_contract.errors import ContractError
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.manifest import Variant
from shoal_contract.transfer import DeltaRef, split
from shoal_numerics.errors import DeltaError

_log = getLogger(__name__)


@dataclass(frozen=True)
class Deltas:
    """The deltas of one model, on this device."""

    name: str
    blobs: BlobStore
    fetcher: Fetcher
    encryption_key: EncryptionKey
    has_room: Callable[[ArtifactRef], bool] = lambda _: True
    """Whether a delta may lie beside the file that it makes."""

    async def bring(self, variant: Variant, wanted: DesiredModel, held: Iterable[Slot]) -> int:
        """Put the variant's file into the store by a delta, if the hub offers one from a file that is here.

        Args:
            variant: From the signed manifest.
            wanted: Carries the version's key, where it is encrypted.
            held: What the device has of the model; of the same file, the last one counts.

        Returns:
            Bytes of the delta that travelled, whether or not it was of use; 0 if none was offered or it did not come.

        Raises:
            FetchError, LinkError: What the hub offers could not be read; neither could the file.
            DiskError: The disk does not take it.
        """
        ref = variant.travels_as
        bases = {slot.file_sha256: slot for slot in held if self.blobs.has(slot.file_sha256)}
        if not bases or self.blobs.has(ref.sha256) or self.blobs.has_partial(ref.sha256):
            return 0
        found = (await self.fetcher.manifest(ref)).smallest_delta(bases)
        if found is None:
            return 0
        base, delta = bases[found[0]], found[1]
        if not self.blobs.has(delta.travels_as.sha256) and not self.has_room(delta.travels_as):
            _log.warning("model %s: no room for a delta beside the file, the whole file then", self.name)
            return 0
        fetched_bytes = 0
        try:
            if not self.blobs.has(delta.travels_as.sha256):
                await to_thread.run_sync(self.blobs.mark_passing, delta.travels_as.sha256)
                await self.fetcher.fetch(delta.travels_as, is_urgent=wanted.is_urgent)
                fetched_bytes = delta.travels_as.size_bytes
            await to_thread.run_sync(self._make, variant, wanted, base, delta)
        except (LinkError, BudgetError):  # the whole file, which is larger, would not come either
            raise
        except DiskError as error:
            if not self.blobs.is_passing(delta.travels_as.sha256):
                raise
            # Only what came as a delta, now or before, is deleted by name. Without it there may be room for the file.
            _log.warning("model %s: no room beside a delta, the whole file then: %s", self.name, error)
            await to_thread.run_sync(self.blobs.discard, delta.travels_as.sha256)
        except (AgentError, ContractError, DeltaError) as error:
            _log.warning("model %s: no delta from version %d, the whole file then: %s", self.name, base.version, error)
        # The store's next collection takes it: nobody has signed its name, which may be that of a file that serves.
        return fetched_bytes

    def _make(self, variant: Variant, wanted: DesiredModel, base: Slot, delta: DeltaRef) -> None:
        """Make the file and put it into the store; what is encrypted is plain in memory alone."""
        from shoal_numerics.delta import apply_delta, read_delta_header  # with numpy and zstd, for who has a delta

        base_key = self._key(base.key, base.version) if base.encrypted else None
        new_key = self._key(wanted.key, wanted.version) if variant.encrypted else None
        patch = self._patch(delta, delta_key(base_key, new_key))
        if (named := read_delta_header(patch).result_sha256) != variant.sha256:
            raise ArtifactError(f"the delta makes {named[:12]}, the signed manifest names {variant.sha256[:12]}")
        new = apply_delta(self._plain(base, base_key), patch, variant.size_bytes)
        del patch  # as large as the file at worst
        parts = split(new, CHUNK_BYTES)
        if new_key is not None:  # the same bytes as the hub's: the signed hash of the ciphertext comes out
            parts = encrypt_chunks(parts, new_key, variant.sha256, variant.size_bytes)
        self.blobs.put(variant.travels_as, parts)

    def _patch(self, delta: DeltaRef, key: bytes | None) -> bytes:
        if (key is None) != (delta.encrypted is None):
            raise ArtifactError(f"the delta {delta.sha256[:12]} is encrypted where it should not be, or the reverse")
        data = self._read("delta", delta.travels_as.sha256, delta.travels_as.size_bytes)
        return data if key is None else decrypt_file(data, key, delta.sha256, delta.size_bytes)

    def _plain(self, base: Slot, key: bytes | None) -> bytes:
        data = self._read("delta's base", base.file_sha256, MAX_ARTIFACT_BYTES)
        return data if key is None else decrypt_file(data, key, base.sha256, base.size_bytes)

    def _read(self, what: str, sha256: str, max_bytes: int) -> bytes:
        try:
            return self.blobs.read(sha256, max_bytes)
        except DiskError as error:  # of this file alone: the whole file may well be fetched
            raise ArtifactError(f"the {what} can not be read: {error}") from error

    def _key(self, wrapped: WrappedKey | None, version: int) -> bytes:
        return self.encryption_key.open(wrapped, self.name, version)
