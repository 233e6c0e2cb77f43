"""A candidate's memory limit holds also where it is loaded into free pages of the heap, as after a delta."""

from pathlib import Path

import numpy as np
import pytest
from anyio import to_thread
from tests.agent.simulators.device import Device, version
from tests.agent.trials.test_trials import Trying, asked

from shoal_agent.engines import Array, CostMeter, Engine, load_version
from shoal_agent.telemetry import resident_bytes
from shoal_agent.trials.trials import TrialError
from shoal_contract.manifest import Variant, VersionManifest

pytestmark = pytest.mark.anyio
ARRAY_BYTES = 100_000
"""Less than what glibc maps by itself, so that it comes from the heap."""
ARRAYS = 400


def _fill() -> list[Array]:
    return [np.ones(ARRAY_BYTES, "u1") for _ in range(ARRAYS)]


def _leave_free_pages() -> Array:
    """Fill and free the heap of this thread; what is returned lies at its end, so that the C library keeps the rest."""
    former = _fill()
    pin = np.ones(ARRAY_BYTES, "u1")
    del former
    return pin


async def test_a_candidate_that_is_loaded_into_memory_that_was_freed_before_counts_all_the_same(
    tmp_path: Path,
) -> None:
    device, loaded = Device(tmp_path), list[Array]()
    await device.converge(device.publish(version(1), "dp-1"))

    def load(path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        loaded.extend(_fill())
        return load_version(path, manifest, variant)

    trying = Trying(device, CostMeter(resident_bytes), load)
    pin = await to_thread.run_sync(_leave_free_pages)  # where deltas are applied and models loaded
    with pytest.raises(TrialError, match="the agent grew by"):
        await trying.converge(asked(trying, max_memory_bytes=ARRAY_BYTES * ARRAYS // 2))
    assert (trying.tried, len(loaded), len(pin)) == (None, ARRAYS, ARRAY_BYTES)
    await device.server.aclose()
