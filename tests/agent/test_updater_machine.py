"""Any order of wishes, vetoes, times, starts and cut-offs: what serves is always good, and nobody is passed over.

The updater, its disk and its engines are the real ones; the hub's wishes, the owner and the clock are made up.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner, under
from tests.agent.simulators.retained import RetainedTopics
from tests.agent.test_updater import other_answer

from shoal_agent.errors import AgentError
from shoal_agent.hold import Hold
from shoal_agent.slots import SlotFile
from shoal_agent.updater import DOWNLOADED, DeploymentFailedError
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import DeploymentEvent
from shoal_contract.update_policy import MaintenanceWindow, Retry

BAD_VERSION = 4
PROBES = "[good]\nexec = ['/bin/true']\n[bad]\nexec = ['/bin/false']\n"
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure is told as it was found: to shrink one takes minutes."""
cuts = st.sampled_from([None, None, None, "fetch", "verify", "stage", "activate", "probe"])
minutes = st.none() | st.integers(-30, 120)
policies = st.fixed_dictionaries(
    {
        "download_only": st.booleans(),
        "windows": st.sampled_from([(), (), (MaintenanceWindow(start="12:30", minutes=60),)]),
        "probes": st.sampled_from([(), (), ("good",), ("good", "bad")]),
        "retries": st.sampled_from([{}, {"probe": Retry(attempts=2), "self_test": Retry(attempts=2)}]),
    }
)


class Updates(RuleBasedStateMachine):
    """One device and all that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.owner = Owner(self.folder)
        self.owner.define(PROBES)
        self.device = Device(self.folder, RetainedTopics(), conditions=self.owner.conditions)
        self.wanted: DesiredModel | None = None
        self.deployments = 0
        self.was_good = False
        self.failed: set[tuple[str, str]] = set()

    def do(self, action: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(action)

    @initialize()
    def serve_the_first(self) -> None:
        self.ask(1, {}, None, None, None, is_new=True)
        self.was_good = True

    @rule(
        number=st.integers(1, BAD_VERSION),
        policy=policies,
        starts=minutes,
        ends=minutes,
        cut_at=cuts,
        is_new=st.booleans(),
    )
    def ask(
        self,
        number: int,
        policy: dict[str, Any],
        starts: int | None,
        ends: int | None,
        cut_at: str | None,
        *,
        is_new: bool,
    ) -> None:
        """The hub wants something, under a new deployment or the one before, and the agent tries once."""
        self.deployments += is_new
        manifest = version(number, other_answer) if number == BAD_VERSION else version(number)
        wanted = self.device.publish(manifest, f"dp-{self.deployments}")
        times = {
            name: self.owner.now + timedelta(minutes=at)
            for name, at in (("activate_at", starts), ("expires_at", ends))
            if at is not None and (name == "expires_at" or ends is None or at < ends)
        }
        self.wanted = under(wanted, **policy, **times)
        self.try_again(cut_at, 0)

    @precondition(lambda self: self.wanted is not None)
    @rule(cut_at=cuts, passed=st.integers(0, 60))
    def try_again(self, cut_at: str | None, passed: int) -> None:
        """The agent tries once, after some minutes; it may be cut off at a step, as by a new wish."""
        self.owner.passes(minutes=passed)
        assert self.wanted is not None
        wanted, before = self.wanted, self.device.serves
        key, told = (wanted.deployment, wanted.manifest.sha256), list[str]()

        async def attempt() -> str | None:
            with anyio.CancelScope() as scope:

                def on_step(event: DeploymentEvent) -> None:
                    told.append(event.step)
                    if event.step == "activate" and self.device.serves != wanted.version:
                        self.check_activation(wanted)
                    if event.step == cut_at:
                        scope.cancel()

                return await self.device.updater.converge(wanted, (1, 1), on_step)
            return "cut"

        try:
            ended = self.do(attempt())
        except DeploymentFailedError:
            assert self.device.serves == before or self.device.updater.file.slots.active is not None
            assert key not in self.failed or told == [], "what failed is not tried again"
            self.failed.add(key)
        except AgentError:
            assert key not in self.failed
        else:
            assert ended in {"cut", DOWNLOADED} or (self.device.serves, told[-1:] or ["commit"]) == (
                wanted.version,
                ["commit"],
            )

    def check_activation(self, wanted: DesiredModel) -> None:
        """What is activated is not vetoed, expired, too early, out of its window, or to be downloaded only."""
        policy, now = wanted.policy, self.owner.now
        assert policy is not None
        assert self.owner.hold is None
        assert policy.expires_at is None or now < policy.expires_at
        assert policy.activate_at is None or policy.activate_at <= now
        assert policy.is_open(now)
        assert not policy.download_only
        assert wanted.version != BAD_VERSION
        assert (wanted.deployment, wanted.manifest.sha256) not in self.failed

    @rule(is_held=st.booleans())
    def hold(self, *, is_held: bool) -> None:
        self.owner.hold = Hold(reason="stocktaking") if is_held else None

    @rule()
    def start_again(self) -> None:
        async def restart() -> Device:
            await self.device.server.aclose()
            return await self.device.restart(conditions=self.owner.conditions)

        self.device = self.do(restart())

    @invariant()
    def once_good_there_is_always_one_that_serves(self) -> None:
        active = self.device.updater.file.slots.active
        assert not self.was_good or (active is not None and self.device.serves == active.version)

    @invariant()
    def a_version_that_fails_its_self_test_never_serves(self) -> None:
        assert self.device.serves != BAD_VERSION

    @invariant()
    def memory_and_disk_say_the_same(self) -> None:
        assert SlotFile(self.folder / "models", "tiny").slots == self.device.updater.file.slots

    @invariant()
    def there_is_a_way_back_from_what_is_not_proved(self) -> None:
        slots = self.device.updater.file.slots
        if self.was_good and slots.active is not None and slots.active.state == "unproven":
            assert slots.previous is not None
            assert slots.previous.state == "good"

    def teardown(self) -> None:
        self.do(self.device.server.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


TestUpdates = Updates.TestCase
TestUpdates.settings = settings(max_examples=20, stateful_step_count=20, phases=PHASES)
