"""Which version that the device has in its slots a job is done with."""

from pathlib import Path

from shoal_agent.batch.errors import BatchError
from shoal_agent.slots import Slot, SlotFile, Slots, known_models


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


def _chosen(slots: Slots, version: int | None, manifest_sha256: str | None) -> Slot | None:
    if manifest_sha256 is not None:
        same = (slot for slot in slots.held() if slot.manifest.sha256 == manifest_sha256)
        return next((slot for slot in same if version in {None, slot.version}), None)
    if version is not None:
        return next((slot for slot in slots.held() if slot.version == version and slot.state != "bad"), None)
    proved = (slot for slot in (slots.active, slots.previous) if slot is not None and slot.state == "good")
    return next(proved, None)
