"""The version before answers while inputs have drifted: decided on the device, undone by time, a swap or the hub."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

import anyio
import pytest
from tests.agent.serving.conftest import served_tiny
from tests.agent.trials.conftest import Tried, trial, trying

from shoal_agent.drift_fallback import DriftFallbacks
from shoal_agent.errors import DiskError
from shoal_agent.monitor import Monitor
from shoal_agent.serving import ServedModel
from shoal_contract.desired import DesiredConfig, DriftFallBack
from shoal_contract.reported import ModelReport

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)
X = [0.5, -1.0, 2.0, 0.25]
FALLS_BACK = DesiredConfig(drift_fall_back=DriftFallBack(features=2, for_s=600))


class Evidence(Monitor):
    """A monitor whose verdict is given."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.verdict: dict[tuple[str, int], int] = {}

    def drifted_features(self) -> dict[tuple[str, int], int]:
        return dict(self.verdict)

    def forget_evidence(self, name: str, version: int) -> None:
        del self.verdict[name, version]


@dataclass
class Watched:
    """Version 2 serves, 1 was before it; the clock stands until it is moved."""

    tried: Tried
    fallbacks: DriftFallbacks
    evidence: Evidence
    clock_s: list[float]
    opened: list[ServedModel] = field(default_factory=list)
    reports: list[None] = field(default_factory=list)
    reported: anyio.Event = field(default_factory=anyio.Event)

    async def answers(self) -> str:
        return await self.tried.infer(X)


@asynccontextmanager
async def watched(before: Callable[[], ServedModel | None] = lambda: served_tiny(1)) -> AsyncIterator[Watched]:
    async with trying() as tried:
        evidence, clock_s, reported = Evidence(), [0.0], anyio.Event()
        opened: list[ServedModel] = []
        reports: list[None] = []

        async def open_before(_name: str) -> ServedModel | None:
            served = before()
            if served is not None:
                opened.append(served)
            return served

        def report() -> None:
            reports.append(None)
            reported.set()

        await tried.server.swap("tiny", served_tiny(2))
        fallbacks = DriftFallbacks(tried.arms, evidence, open_before, report, lambda: NOW, lambda: clock_s[0])
        fallbacks.configure(FALLS_BACK)
        yield Watched(tried, fallbacks, evidence, clock_s, opened, reports, reported)
        await tried.arms.standing_in.aclose()


async def test_the_version_before_answers_once_enough_features_have_drifted() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 1}
        await device.fallbacks.look()
        assert await device.answers() == "2"
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert await device.answers() == "1"
        shown = device.fallbacks.shown({"tiny": ModelReport()})["tiny"].fallback
        assert shown is not None
        assert (shown.version, shown.features, shown.since_at) == (1, 2, NOW)
        assert (device.fallbacks.fallen(), len(device.reports)) == ({"tiny": 1}, 1)


async def test_who_asks_for_a_version_by_its_number_gets_it() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert await device.tried.infer(X, version="2") == "2"


async def test_a_trial_does_not_take_what_stands_in() -> None:
    async with watched() as device:
        await device.tried.server.swap("tiny", served_tiny(2))
        device.tried.arms.start("tiny", trial(mode="ab", share=1.0, against=2), NOW)
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert await device.answers() == "1"


async def test_after_its_time_the_version_is_tried_again_and_judged_by_what_comes_then() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        device.clock_s[0] = 599
        await device.fallbacks.look()
        assert await device.answers() == "1"
        device.clock_s[0] = 600
        await device.fallbacks.look()
        assert (await device.answers(), device.evidence.verdict, device.fallbacks.fallen()) == ("2", {}, {})
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert await device.answers() == "1"


async def test_a_new_version_of_the_hub_answers_at_once() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        await device.tried.server.swap("tiny", served_tiny(3))
        await device.fallbacks.look()
        assert (await device.answers(), device.fallbacks.fallen()) == ("3", {})


async def test_nothing_stands_in_for_another_version_or_for_none_not_even_for_a_moment() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        await device.tried.server.swap("tiny", served_tiny(3))
        assert await device.answers() == "3"
        await device.tried.server.swap("tiny", None)
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}]}
        assert (await device.tried.client.post("/v2/models/tiny/infer", json=body)).status_code == 503


async def test_what_is_loaded_while_the_hub_swaps_stands_in_for_nothing() -> None:
    async with watched() as device:
        swapped = served_tiny(3)

        async def open_late(_name: str) -> ServedModel:
            await device.tried.server.swap("tiny", swapped)
            return served_tiny(2)

        device.fallbacks._open_before = open_late  # type: ignore[method-assign]
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert (await device.answers(), device.fallbacks.fallen()) == ("3", {})


async def test_the_hub_can_take_its_leave_back() -> None:
    async with watched() as device:
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        device.fallbacks.configure(DesiredConfig())
        await device.fallbacks.look()
        assert await device.answers() == "2"


async def test_without_leave_of_the_hub_nothing_stands_in() -> None:
    async with watched() as device:
        device.fallbacks.configure(DesiredConfig())
        device.evidence.verdict = {("tiny", 2): 4}
        await device.fallbacks.look()
        assert (await device.answers(), device.opened) == ("2", [])


def _unreadable() -> ServedModel:
    raise DiskError("reading the stored artifact: it is damaged", "restart the agent")


@pytest.mark.parametrize("before", [lambda: None, _unreadable])
async def test_where_no_version_before_can_stand_in_it_goes_on_and_is_not_tried_at_every_window(
    before: Callable[[], ServedModel | None],
) -> None:
    calls: list[None] = []

    def counted() -> ServedModel | None:
        calls.append(None)
        return before()

    async with watched(counted) as device:
        device.evidence.verdict = {("tiny", 2): 2}
        for _ in range(3):
            await device.fallbacks.look()
        assert (await device.answers(), len(calls)) == ("2", 1)
        device.clock_s[0] = 600
        await device.fallbacks.look()
        assert len(calls) == 2, "a disk may have come back"


async def test_news_has_it_look_and_what_stood_in_is_closed_with_it() -> None:
    async with watched() as device:
        async with anyio.create_task_group() as group:
            group.start_soon(device.fallbacks.run)
            device.evidence.verdict = {("tiny", 2): 2}
            device.fallbacks.notice()
            with anyio.fail_after(5):
                await device.reported.wait()
            assert await device.answers() == "1"
            group.cancel_scope.cancel()
        assert device.tried.arms.standing_in.names() == ()


async def test_samples_are_of_what_has_drifted_also_while_another_version_stands_in() -> None:
    async with watched() as device:
        assert not device.fallbacks.has_drifted("tiny", 1)
        device.evidence.verdict = {("tiny", 2): 2}
        await device.fallbacks.look()
        assert device.fallbacks.has_drifted("tiny", 1)
        assert not device.fallbacks.has_drifted("other", 1)
