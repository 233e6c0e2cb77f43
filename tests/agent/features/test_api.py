"""Programs on the device read features with their freshness, send events and see how pipelines are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.endpoints import Answer, ask
from tests.agent.features.conftest import BY_TIME, PAIRS, Device, line, until
from tests.agent.test_sections import HARDWARE

from shoal_agent.endpoint import Router
from shoal_agent.features import FeaturesError, Pipelines, feature_routes
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_contract.features import DesiredFeatures, FileSource, HttpSource, Pipeline
from shoal_contract.reported import SectionReport

pytestmark = pytest.mark.anyio
PUSHED = Pipeline(source=HttpSource(), form=BY_TIME, definitions=("pairs",))
WANTED = DesiredFeatures(definitions={"pairs": PAIRS}, pipelines={"pumps": PUSHED})


class Agent:
    """What the daemon makes of a desired state's features."""

    def __init__(self, pipelines: Pipelines, sections: Sections, reporter: Reporter) -> None:
        self.pipelines = pipelines
        self.sections = sections
        self.reporter = reporter
        self.router = Router(feature_routes(pipelines))

    def section(self, name: str) -> SectionReport | None:
        return self.reporter.snapshot(1).sections.get(f"features/{name}")

    async def want(self, wanted: DesiredFeatures | None) -> None:
        self.pipelines.follow(wanted, self.sections)
        await self.until("pumps", "applied" if wanted else None)

    async def until(self, name: str, state: str | None) -> SectionReport | None:
        await until(lambda: ((report := self.section(name)) and report.state == state) or report is state)
        return self.section(name)

    async def get(self, path: str, **more: Any) -> Answer:
        return await ask(self.router, "GET", path, **more)

    async def send(self, body: bytes, name: str = "pumps") -> Answer:
        return await ask(self.router, "POST", f"/shoal/v1/events/{name}", body)


@asynccontextmanager
async def running(device: Device) -> AsyncIterator[Agent]:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc))
    pipelines = Pipelines(device.around, reporter.section)
    async with anyio.create_task_group() as group:
        pipelines.run_in(group)
        yield Agent(pipelines, Sections(group, reporter, 0.01, 0.02), reporter)
        await pipelines.aclose()
        group.cancel_scope.cancel()
    device.restart()


async def test_pushed_events_become_features_that_are_read_with_their_freshness(device: Device) -> None:
    async with running(device) as agent:
        await agent.want(WANTED)
        sent = await agent.send(line("pump/1", 1, 1.0) + line("pump/1", 2, 3.0))
        assert (sent.status, sent.json()["dropped_messages"]) == (202, 0)
        await until(lambda: device.store.knows("pump/1"))
        found = (await agent.get("/shoal/v1/features/pump%2F1")).json()
        unknown = (await agent.get("/shoal/v1/features/nobody")).json()
        shown = (await agent.get("/shoal/v1/pipelines")).json()
    assert (found["entity"], found["is_known"]) == ("pump/1", True)
    mean = found["features"]["pairs/mean"]
    assert mean["at"] == "1970-01-01T00:00:02+00:00"
    assert (mean["value"], mean["is_fresh"], mean["is_fallback"], mean["age_s"]) == (2.0, True, False, 29_998.0)
    assert (unknown["is_known"], unknown["features"]["pairs/mean"]["age_s"]) == (False, None)
    assert shown["pumps"]["lines"] == {"events": 2, "malformed": 0, "ahead": 0}


async def test_events_that_nobody_waits_for_are_refused(device: Device) -> None:
    other = PUSHED.model_copy(update={"source": FileSource(path="in")})
    async with running(device) as agent:
        assert (await agent.get("/shoal/v1/features/a")).status == 503
        await agent.want(WANTED.model_copy(update={"pipelines": {"pumps": PUSHED, "log": other}}))
        await agent.until("log", "applied")
        statuses = [(await agent.send(b"{}", name)).status for name in ("nobody", "log")]
        statuses.append((await agent.send(b"")).status)
    assert statuses == [404, 409, 400]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/shoal/v1/features/a"), ("GET", "/shoal/v1/pipelines"), ("POST", "/shoal/v1/events/pumps")],
)
async def test_another_device_and_a_web_page_are_refused(device: Device, method: str, path: str) -> None:
    async with running(device) as agent:
        await agent.want(WANTED)
        other = await ask(agent.router, method, path, b"{}", peer="192.168.1.7")
        page = await ask(agent.router, method, path, b"{}", headers={b"origin": b"https://evil.example"})
    assert [other.status, page.status] == [403, 403]


async def test_a_pipeline_that_can_not_run_fails_by_itself(device: Device) -> None:
    broken = PUSHED.model_copy(update={"definitions": ("missing",)})
    async with running(device) as agent:
        await agent.want(WANTED.model_copy(update={"pipelines": {"pumps": PUSHED, "broken": broken}}))
        report = await agent.until("broken", "failed")
        assert report is not None
        assert report.problem is not None
        assert report.problem.code == "features"
        assert "'missing'" in report.problem.message
        assert list(agent.pipelines.running()) == ["pumps"]


async def test_a_source_that_is_away_is_told_and_taken_back(device: Device) -> None:
    away = PUSHED.model_copy(update={"source": FileSource(path="in")})
    path = device.folder / "streams" / "in"
    path.mkdir()
    async with running(device) as agent:
        agent.pipelines.follow(WANTED.model_copy(update={"pipelines": {"log": away}}), agent.sections)
        report = await agent.until("log", "working")
        await until(lambda: (found := agent.section("log")) is not None and found.step == "source")
        path.rmdir()
        path.write_bytes(line("a", 1, 1.0))
        report = await agent.until("log", "applied")
    assert report is not None
    assert report.problem is None


async def test_a_pipeline_that_fails_and_works_in_turn_is_reported_now_and_then_and_in_the_end_as_it_is(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path, quick={"report_pause_s": 0.2})
    async with running(device) as agent:
        await agent.want(WANTED)
        told: list[str] = []
        report = agent.pipelines._report

        def note(key: str, section: SectionReport) -> None:
            told.append(section.state)
            report(key, section)

        agent.pipelines._report = note
        pumps = agent.pipelines.find("pumps")
        assert pumps is not None
        for _ in range(50):
            for problem in (FeaturesError("away"), None):
                pumps._note("source", problem)
        await until(lambda: told == ["applied"])
        pumps._note("source", FeaturesError("away"))
        await until(lambda: told == ["applied", "working"])
    device.store.close()


async def test_what_is_not_wanted_any_more_ends_and_its_values_and_windows_are_forgotten(device: Device) -> None:
    async with running(device) as agent:
        await agent.want(WANTED)
        await agent.send(line("a", 1, 1.0) * 3)
        await until(lambda: device.store.knows("a"))
        await agent.want(None)
        assert agent.pipelines.running() == {}
        assert (device.store.defined(), device.store.knows("a")) == ([], False)
        assert device.store.saved("pumps").windows == {}


async def test_a_changed_pipeline_goes_on_with_its_open_windows(device: Device) -> None:
    async with running(device) as agent:
        await agent.want(WANTED)
        first = agent.pipelines.find("pumps")
        await agent.send(line("a", 1, 1.0))
        await until(lambda: first is not None and first.computation.windows["pairs"].counts.taken == 1)
        changed = PUSHED.model_copy(update={"max_waiting": 7})
        agent.pipelines.follow(WANTED.model_copy(update={"pipelines": {"pumps": changed}}), agent.sections)
        await until(lambda: agent.pipelines.find("pumps") not in {None, first})
        await agent.send(line("a", 2, 3.0))
        await until(lambda: device.store.knows("a"))
