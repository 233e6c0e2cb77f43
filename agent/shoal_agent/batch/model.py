"""The model of a job: a version that the device has in its slots, loaded and tested in this process.

It was believed when it was staged; what lies on the disk is held against the hashes of its slot once more.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from shoal_agent.batch.errors import BatchError
from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import EncryptionKey, load_or_make_encryption_key, new_encryption_key
from shoal_agent.errors import ArtifactError, DiskError
from shoal_agent.hardware import available_runtimes
from shoal_agent.identity import load_identity
from shoal_agent.loading import Loader, Profile
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot, SlotFile, Slots, known_models
from shoal_contract.desired import DesiredModel

_READ_BYTES: Final = 1024 * 1024


def choose_slot(data: Path, name: str, version: int | None, manifest_sha256: str | None = None) -> Slot:
    """Return the version that a job is done with.

    Args:
        data: The agent's folder.
        name: The model.
        version: The version; None: the one that serves, or the one before while that is unproven.
        manifest_sha256: Of the manifest that it must have, for a job that was begun with it.

    Raises:
        BatchError: The device does not have it.
        DiskError: The model's roles can not be read.
    """
    models = known_models(data / "models")
    if name not in models:
        message = f"looking for model {name!r} in {data}: the device has {', '.join(models) or 'none'}"
        raise BatchError(message, "roll it out to this device, or name the agent's folder with --data")
    slots = SlotFile(data / "models", name).slots
    found = _chosen(slots, version, manifest_sha256)
    if found is None:
        held = ", ".join(f"version {slot.version} ({slot.state})" for slot in slots.held()) or "no version"
        asked = f"version {version}" if version is not None else "a version that has proved itself"
        message = f"looking for {asked} of {name}: the device has {held}"
        raise BatchError(message, "name one that it has, or wait for its update; --restart takes the one that serves")
    return found


def open_model(data: Path, name: str, slot: Slot) -> ServedModel:
    """Load a version and run its self-test; the caller closes its engine.

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


def _chosen(slots: Slots, version: int | None, manifest_sha256: str | None) -> Slot | None:
    if manifest_sha256 is not None:
        same = (slot for slot in slots.held() if slot.manifest.sha256 == manifest_sha256)
        return next((slot for slot in same if version in {None, slot.version}), None)
    if version is not None:
        return next((slot for slot in slots.held() if slot.version == version and slot.state != "bad"), None)
    proved = (slot for slot in (slots.active, slots.previous) if slot is not None and slot.state == "good")
    return next(proved, None)


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
    return load_or_make_encryption_key(data / "identity", load_identity(data / "identity").device_id)


def _wanted_in(slot: Slot) -> DesiredModel:
    return DesiredModel(
        version=slot.version, target=slot.target, manifest=slot.manifest, deployment=slot.deployment, key=slot.key
    )
