"""A delta beside the file that it makes keeps to the owner's budget: what nothing needs goes for it, or it is left."""

from pathlib import Path

import pytest
from tests.agent.simulators.device import Device
from tests.agent.simulators.director import ref_of
from tests.agent.test_deltas import GOOD_PATCH, PLAIN, offer, prepared, told_bytes, travelling
from tests.agent.test_room import BLOCK

from shoal_agent.conditions import Conditions
from shoal_agent.room import Room
from shoal_agent.settings import UpdateSettings
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel

pytestmark = pytest.mark.anyio
ROUNDING = 3 * BLOCK
"""Of what comes, a file is asked for by its bytes and takes whole blocks."""


async def bounded(folder: Path, *, spare_bytes: int) -> tuple[Device, DesiredModel, ArtifactRef, Room]:
    """Return a device whose budget has room for the file and `spare_bytes`, with an old file that nothing needs."""
    device, wanted = await prepared(folder, PLAIN)
    offer(device, PLAIN, GOOD_PATCH)
    room = Room(device.blobs, UpdateSettings(), lambda: set(device.updater.file.slots.artifacts()))
    kept_bytes = sum(device.blobs.sizes().values())
    coming_bytes = len(travelling(2, is_encrypted=False)) + wanted.manifest.size_bytes
    budget_bytes = kept_bytes + coming_bytes + spare_bytes
    old = b"o" * spare_bytes
    device.blobs.put(ref_of(old), [old])
    room.settings = UpdateSettings(reserve_bytes=0, max_models_bytes=budget_bytes)
    again = await device.restart(conditions=Conditions(room=room))
    return again, wanted, ref_of(old), room


async def test_what_nothing_needs_goes_for_a_delta(tmp_path: Path) -> None:
    device, wanted, old, room = await bounded(tmp_path, spare_bytes=len(GOOD_PATCH) + 2 * BLOCK)
    await device.converge(wanted)
    assert told_bytes(device) == len(GOOD_PATCH)
    assert not device.blobs.has(old.sha256)
    assert sum(device.blobs.sizes().values()) <= room.settings.max_models_bytes + ROUNDING
    await device.server.aclose()


async def test_a_delta_that_does_not_fit_is_left_for_the_whole_file(tmp_path: Path) -> None:
    device, wanted, _, room = await bounded(tmp_path, spare_bytes=len(GOOD_PATCH) // 2)
    await device.converge(wanted)
    assert told_bytes(device) == len(travelling(2, is_encrypted=False))
    assert sum(device.blobs.sizes().values()) <= room.settings.max_models_bytes + ROUNDING
    await device.server.aclose()
