"""What every store of artifacts must do, on whatever disk. A test class names the disk and inherits the claims."""

import numpy as np
import pytest
from tests.agent.simulators.director import ref_of

from shoal_agent.blobs import BlobStore, PartialBlob
from shoal_agent.errors import ArtifactError, DiskError, FetchError
from shoal_contract.errors import TransferError
from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import describe, split

CHUNK = 16 * 1024
DATA = np.random.default_rng(1).bytes(76_800)  # five chunks, the last one shorter
MANIFEST = describe(DATA, CHUNK)
CHUNKS = list(split(DATA, CHUNK))
REF = ref_of(DATA)


def fill(partial: PartialBlob, indices: set[int]) -> None:
    for index in indices:
        partial.write(index, CHUNKS[index])


class BlobChecks:
    """The claims; the fixture `blobs` is a store with nothing in it."""

    def test_a_filled_transfer_becomes_an_artifact(self, blobs: BlobStore) -> None:
        partial = blobs.open_partial(MANIFEST)
        assert (partial.missing, blobs.has_partial(REF.sha256)) == ({0, 1, 2, 3, 4}, True)
        fill(partial, {4, 0, 2, 1, 3})
        assert partial.missing == set()
        assert blobs.finish(partial, REF).read_bytes() == DATA
        assert (blobs.has(REF.sha256), blobs.has_partial(REF.sha256)) == (True, False)
        assert blobs.read(REF.sha256, len(DATA)) == DATA
        blobs.check(REF.sha256)

    def test_a_transfer_goes_on_where_it_stopped(self, blobs: BlobStore) -> None:
        partial = blobs.open_partial(MANIFEST)
        fill(partial, {0, 3})
        partial.close()
        again = blobs.open_partial(MANIFEST)
        assert again.missing == {1, 2, 4}
        again.close()

    def test_wrong_chunks_are_found_when_the_whole_does_not_come_out_right(self, blobs: BlobStore) -> None:
        partial = blobs.open_partial(MANIFEST)
        fill(partial, {4, 0, 2})
        partial.write(3, CHUNKS[0])
        partial.write(1, CHUNKS[2])
        partial.find_wrong()
        assert partial.missing == {1, 3}
        fill(partial, {3, 1})
        partial.find_wrong()
        assert partial.missing == set()
        assert blobs.finish(partial, REF).read_bytes() == DATA

    def test_a_chunk_of_another_size_or_place_changes_nothing(self, blobs: BlobStore) -> None:
        partial = blobs.open_partial(MANIFEST)
        for index, data in [(1, CHUNKS[1][:-1]), (4, CHUNKS[3]), (5, CHUNKS[0]), (-1, CHUNKS[0])]:
            with pytest.raises(TransferError):
                partial.write(index, data)
        assert partial.missing == {0, 1, 2, 3, 4}
        partial.close()

    def test_a_whole_file_with_another_hash_is_thrown_away(self, blobs: BlobStore) -> None:
        lying = MANIFEST.model_copy(update={"sha256": sha256_hex(b"what was signed")})
        partial = blobs.open_partial(lying)
        fill(partial, {0, 1, 2, 3, 4})
        with pytest.raises(FetchError, match="hash"):
            blobs.finish(partial, REF.model_copy(update={"sha256": lying.sha256}))
        assert not blobs.has(lying.sha256)
        assert not blobs.has_partial(lying.sha256)

    def test_what_was_made_here_is_kept_only_if_it_is_what_its_name_says(self, blobs: BlobStore) -> None:
        blobs.put(REF, CHUNKS)
        assert blobs.read(REF.sha256, len(DATA)) == DATA
        other = ref_of(b"other")
        with pytest.raises(ArtifactError, match="its hash is"):
            blobs.put(other, [b"not that"])
        assert not blobs.has(other.sha256)

    def test_what_is_not_there_is_not_read(self, blobs: BlobStore) -> None:
        with pytest.raises(DiskError):
            blobs.read(REF.sha256, len(DATA))
        with pytest.raises(ArtifactError, match="not there"):
            blobs.check(REF.sha256)
        blobs.put(REF, [DATA])
        with pytest.raises(DiskError, match="at most 10 allowed"):
            blobs.read(REF.sha256, 10)

    def test_collecting_keeps_what_is_needed_whole_or_partial(self, blobs: BlobStore) -> None:
        blobs.put(REF, [DATA])
        blobs.put(ref_of(b"not needed"), [b"not needed"])
        needed = describe(b"half there", CHUNK)
        for manifest in (needed, describe(b"given up", CHUNK)):
            blobs.open_partial(manifest).close()
        gone = blobs.collect({REF.sha256, needed.sha256})
        assert gone == sorted([sha256_hex(b"not needed"), sha256_hex(b"given up")])
        assert (blobs.has(REF.sha256), blobs.has_partial(needed.sha256)) == (True, True)
        blobs.discard(REF.sha256)
        assert not blobs.has(REF.sha256)
