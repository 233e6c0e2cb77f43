"""The list of an artifact's chunks: hashed once and kept, as it is asked for again and again."""

import hashlib
import threading
from typing import Final

from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import TransferManifest
from shoal_hub.database import Database, add_unless_there
from shoal_hub.errors import ArtifactError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.transfer.tables import ChunkList

_DIGEST_BYTES: Final = 32
_HASHING: Final = threading.Lock()


def list_chunks(database: Database, store: ArtifactStore, sha256: str, chunk_bytes: int) -> TransferManifest:
    """Return an artifact's transfer manifest, without deltas; read and hashed at the first call, then kept.

    Args:
        database: Where the list is kept.
        store: Where the bytes are.
        sha256: The artifact.
        chunk_bytes: The size of its chunks, but for the last.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    row = _kept(database, sha256, chunk_bytes)
    if row is None:
        with _HASHING:  # many devices may ask at once for a file that nobody has asked for before
            row = _kept(database, sha256, chunk_bytes) or _hash(store, sha256, chunk_bytes)
            with database.transaction() as session:
                add_unless_there(session, ChunkList(**row.model_dump()))
    digests = [row.digests[start : start + _DIGEST_BYTES] for start in range(0, len(row.digests), _DIGEST_BYTES)]
    chunks = tuple(digest.hex() for digest in digests)
    return TransferManifest(sha256=sha256, size_bytes=row.size_bytes, chunk_bytes=chunk_bytes, chunks=chunks)


def _kept(database: Database, sha256: str, chunk_bytes: int) -> ChunkList | None:
    with database.session() as session:
        return session.get(ChunkList, (sha256, chunk_bytes))


def _hash(store: ArtifactStore, sha256: str, chunk_bytes: int) -> ChunkList:
    whole, digests, size_bytes = hashlib.sha256(), bytearray(), 0
    with store.open(sha256) as file:
        while chunk := file.read(chunk_bytes):
            whole.update(chunk)
            digests += bytes.fromhex(sha256_hex(chunk))
            size_bytes += len(chunk)
    if whole.hexdigest() != sha256:
        raise ArtifactError(
            f"listing the chunks of artifact {sha256}: its bytes have the hash {whole.hexdigest()}",
            "the store is damaged: restore the file from a backup",
        )
    return ChunkList(sha256=sha256, chunk_bytes=chunk_bytes, size_bytes=size_bytes, digests=bytes(digests))
