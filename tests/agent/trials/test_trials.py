"""A trial from the desired state to a running candidate and back, by the real updater and engines."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agent.serving.conftest import served_tiny
from tests.agent.simulators.device import Device, file_of, version
from tests.agent.simulators.owner import Owner
from tests.agent.trials.conftest import START
from tests.agent.trials.conftest import trial as wanted_trial

from shoal_agent.engines import CostMeter, EngineError, LoadEngine, load_version
from shoal_agent.errors import HeldError, LinkError
from shoal_agent.monitor import Monitor
from shoal_agent.slots import SlotFile
from shoal_agent.trials import Arms, Shadow, Trials
from shoal_agent.trials.trials import TrialError
from shoal_agent.updater import DeploymentFailedError, Updater
from shoal_contract.desired import DesiredTrial
from shoal_contract.manifest import TensorSpec

pytestmark = pytest.mark.anyio


class Trying:
    """A device that serves version 1, and its trials; `restart` keeps what is on disk."""

    def __init__(self, device: Device, memory: CostMeter | None = None, load_engine: LoadEngine = load_version) -> None:
        self.device = device
        self.resident = [0]
        self.now = START
        self.arms = Arms(device.server)
        self.shadow = Shadow(Monitor(), self.arms, lambda: START)
        folder = device.folder / "trials"

        def make_updater(name: str) -> Updater:
            own = device.updater
            return Updater(
                name,
                SlotFile(folder, name),
                own.blobs,
                own.fetcher,
                self.arms.candidates,
                own.profile,
                own.trust,
                own.boot_attempts,
                own.encryption_key,
                own.conditions.for_trials(),
                load_engine,
                serving_bases=lambda: own.file.slots.bases(),  # noqa: PLW0108 - what the slots hold when it is asked
            )

        self.trials = Trials(
            folder,
            make_updater,
            self.arms,
            self.shadow,
            memory=memory or CostMeter(self._resident_bytes, release=lambda: None),
            now=lambda: self.now,
            most_starts=3,
        )

    def _resident_bytes(self) -> int:
        return self.resident[0] if len(self.resident) == 1 else self.resident.pop(0)

    async def converge(self, wanted: DesiredTrial) -> None:
        await self.trials.convergence("tiny", wanted, (1, 1))()

    async def restart(self) -> "Trying":
        again = Trying(await self.device.restart())
        await again.trials.boot()
        return again

    @property
    def tried(self) -> int | None:
        found = self.arms.running("tiny")
        return found.candidate.version if found else None


@pytest.fixture
async def trying(tmp_path: Path) -> Trying:
    device = Device(tmp_path)
    await device.converge(device.publish(version(1), "dp-1"))
    return Trying(device)


def asked(trying: Trying, number: int = 2, **changes: Any) -> DesiredTrial:
    """Publish a version and ask for a trial of it."""
    return wanted_trial(candidate=trying.device.publish(version(number), "t-1"), **changes)


async def test_a_candidate_is_brought_tested_and_run_and_what_serves_stays(trying: Trying) -> None:
    await trying.converge(asked(trying))
    assert (trying.tried, trying.device.serves) == (2, 1)
    slots = trying.device.updater.file.slots
    assert (slots.active is not None and slots.active.version, slots.candidate) == (1, None)
    assert trying.trials.artifacts() != set()


async def test_a_trial_that_is_wanted_no_more_leaves_nothing(trying: Trying) -> None:
    await trying.converge(asked(trying))
    await trying.trials.removal("tiny")()
    assert (trying.tried, trying.device.serves) == (None, 1)
    assert trying.arms.candidates.names() == ()
    assert (trying.trials.artifacts(), trying.trials.held()) == (set(), set())


async def test_a_candidate_waits_for_the_version_that_it_is_held_against(trying: Trying) -> None:
    with pytest.raises(HeldError, match="version 1 serves"):
        await trying.converge(asked(trying, against=7))
    assert (trying.tried, trying.device.serves) == (None, 1)


async def test_a_broken_candidate_fails_the_trial_alone(trying: Trying) -> None:
    manifest = version(2, lambda variant: variant.model_copy(update={"golden_tolerance": 0.0}))
    broken = manifest.variants[0].model_copy(update={"golden_outputs": {"probabilities": manifest.golden_inputs["x"]}})
    manifest = manifest.model_copy(update={"variants": (broken,)})
    wanted = wanted_trial(candidate=trying.device.publish(manifest, "t-1", file=file_of(2)))
    with pytest.raises(DeploymentFailedError, match="self-test"):
        await trying.converge(wanted)
    assert (trying.tried, trying.device.serves) == (None, 1)


async def test_a_candidate_with_other_inputs_is_not_tried(trying: Trying) -> None:
    wanted, served = asked(trying), served_tiny(1)
    other = served.manifest.model_copy(update={"inputs": (TensorSpec(name="x", datatype="INT32", shape=(-1, 4)),)})
    await trying.device.server.swap("tiny", replace(served_tiny(1), manifest=other))
    with pytest.raises(TrialError, match="its inputs are not those"):
        await trying.converge(wanted)
    assert trying.arms.candidates.names() == ()


async def test_a_candidate_that_takes_more_memory_than_allowed_is_taken_away(trying: Trying) -> None:
    trying.resident[:] = [100, 1_000_200]
    with pytest.raises(TrialError, match="grew by 1000100 bytes, at most 1000000"):
        await trying.converge(asked(trying, max_memory_bytes=1_000_000))
    assert (trying.tried, trying.arms.candidates.names()) == (None, ())


async def test_a_restart_offline_goes_on_with_the_trial(trying: Trying) -> None:
    wanted = asked(trying)
    await trying.converge(wanted)
    again = await trying.restart()
    again.device.source.is_down = True
    await again.converge(wanted)
    assert (again.tried, again.device.serves) == (2, 1)


async def test_a_candidate_that_ends_the_agent_again_and_again_is_tried_no_more(trying: Trying) -> None:
    wanted = asked(trying)
    for _ in range(3):
        await trying.converge(wanted)
        trying = await trying.restart()
    with pytest.raises(TrialError, match="ended 3 times"):
        await trying.converge(wanted)
    assert trying.device.serves == 1
    await trying.converge(wanted.model_copy(update={"id": "t-2"}))
    assert trying.tried == 2


async def test_tries_within_one_start_of_the_agent_are_no_crashes(trying: Trying) -> None:
    wanted = asked(trying)
    trying.device.source.is_down = True
    for _ in range(6):
        with pytest.raises(LinkError):
            await trying.converge(wanted)
    trying.device.source.is_down = False
    await trying.converge(wanted)
    assert trying.tried == 2


async def test_a_clean_end_counts_for_nothing(trying: Trying) -> None:
    wanted = asked(trying)
    for _ in range(5):
        await trying.converge(wanted)
        await trying.trials.aclose()
        trying = await trying.restart()
    await trying.converge(wanted)
    assert trying.tried == 2


async def test_a_trial_that_is_over_is_not_begun(trying: Trying) -> None:
    wanted = asked(trying)
    await trying.converge(wanted)
    trying.now = START + timedelta(days=2)
    await trying.converge(wanted)
    assert (trying.tried, trying.trials.artifacts()) == (None, set())


async def test_a_candidate_that_keeps_failing_has_no_version_tested_that_serves(tmp_path: Path) -> None:
    owner = Owner(tmp_path, watch_failures=1)
    device = Device(tmp_path, conditions=owner.conditions)
    await device.converge(device.publish(version(1), "dp-1"))
    trying = Trying(device)
    await trying.converge(asked(trying))
    wrong = {"x": np.zeros((1, 1), dtype=np.float32)}
    for server, told in ((trying.arms.candidates, []), (device.server, ["tiny"])):
        served = server.get("tiny")
        assert served is not None
        with pytest.raises(EngineError):
            served.engine.infer(wrong)
        assert owner.failing == told
