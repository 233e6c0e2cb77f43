"""A version of the device's slots, loaded and tested in a process that is not the agent's.

It was believed when it was staged; what lies on the disk is held against the hashes of its slot once more.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import EncryptionKey, load_encryption_key, new_encryption_key
from shoal_agent.errors import ArtifactError, DiskError
from shoal_agent.hardware import available_runtimes
from shoal_agent.identity import load_identity
from shoal_agent.loading import Loader, Profile
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot
from shoal_contract.desired import DesiredModel

_READ_BYTES: Final = 1024 * 1024


def open_model(data: Path, name: str, slot: Slot) -> ServedModel:
    """Load a version and run its self-test; the caller closes its engine. Not from within an event loop.

    Args:
        data: The agent's folder, which is only read.
        name: The model.
        slot: The version's.

    Raises:
        ArtifactError, DiskError: A file is not there, or not what its slot says.
        EngineError: It does not load, or answers otherwise than it should.
    """
    blobs = BlobStore(data / "blobs", is_read_only=True)
    for sha256 in (slot.manifest.sha256, slot.file_sha256):
        _check_file(blobs.path(sha256), sha256)
    profile = Profile((slot.target,), available_runtimes())
    return anyio.run(partial(_load, Loader(name, blobs, profile, _key(data, slot)), _wanted_in(slot)))


async def _load(loader: Loader, wanted: DesiredModel) -> ServedModel:
    chosen = await loader.choose(wanted)
    return await loader.load(chosen, wanted, is_known=True)


def _check_file(path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise DiskError(f"reading the stored artifact {sha256[:12]}: {error}") from error
    if digest.hexdigest() != sha256:
        message = f"checking the stored artifact {sha256[:12]}: its bytes have changed on disk"
        raise ArtifactError(message, "restart the agent: it fetches the artifact again")


def _key(data: Path, slot: Slot) -> EncryptionKey:
    """Return the device's key where the version is encrypted; else one that opens nothing, and nothing is read."""
    if slot.encrypted is None:
        return new_encryption_key("")
    return load_encryption_key(data / "identity", load_identity(data / "identity").device_id)


def _wanted_in(slot: Slot) -> DesiredModel:
    return DesiredModel(
        version=slot.version, target=slot.target, manifest=slot.manifest, deployment=slot.deployment, key=slot.key
    )
