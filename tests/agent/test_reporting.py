"""The reported state: it always fits what the hub takes, and goes out at each connection and each change."""

from datetime import datetime, timezone

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.link import MemoryLink

from shoal_agent.reporting import Reporter
from shoal_contract import topics
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.reported import (
    Hardware,
    ModelReport,
    Problem,
    ReportedState,
    SectionReport,
    SectionState,
    SlotReport,
    TrustReport,
)
from shoal_contract.wire import parse_message

HARDWARE = Hardware(kind="generic", model="test", architecture="x86_64", cores=1, memory_bytes=1)
LONGEST = Problem(code="c" * 64, message="m" * 1024, remedy="r" * 512)
SECTION_STATES: dict[str, SectionState] = {"failed": "failed", "held": "held", "trying again": "working"}
SLOT = SlotReport(version=2**62, target="t" * 63, sha256="0" * 64, state="unproven")


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc))


def read(data: bytes) -> ReportedState:
    return parse_message(ReportedState, data, MAX_REPORT_BYTES)


def test_a_device_on_which_64_models_give_way_to_64_others_can_still_report(reporter: Reporter) -> None:
    names = [f"m-{number:03d}" for number in range(128)]
    reporter.models = lambda: dict.fromkeys(names, ModelReport(active=SLOT))
    reporter.section("config", SectionReport(state="applied"))
    for name in names:
        reporter.section(f"models/{name}", SectionReport(state="working"))
    state = read(reporter.message(1))
    assert (len(state.models), len(state.sections)) == (64, 128)


@pytest.mark.parametrize("letter", ["m", "ü", "魚", "\x01", '"'], ids=["ascii", "two", "three", "control", "quote"])
def test_a_device_on_which_everything_fails_at_length_can_still_report(reporter: Reporter, letter: str) -> None:
    longest = Problem(code="c" * 64, message=letter * 1024, remedy=letter * 512)
    reporter.models = lambda: {f"m-{n:02d}": ModelReport(active=SLOT, previous=SLOT, candidate=SLOT) for n in range(64)}
    for number in range(128):
        reporter.section(f"models/m-{number:03d}", SectionReport(state="failed", deployment="d" * 64, problem=longest))
    reporter.refused(longest)
    state = read(reporter.message(1))
    problem = state.sections["models/m-000"].problem
    assert problem is not None
    assert problem.code == longest.code
    assert problem.message.strip() == (letter * 1024).encode()[:100].decode(errors="ignore").strip('\x01"')


def test_a_report_says_what_memory_is_left_as_it_is_made(reporter: Reporter) -> None:
    left = iter([3000, None])
    reporter.memory_available = lambda: next(left)
    assert [read(reporter.message(1)).memory_available_bytes for _ in range(2)] == [3000, None]


def test_a_short_problem_is_reported_as_it_is(reporter: Reporter) -> None:
    reporter.section("models/m", SectionReport(state="failed", problem=LONGEST))
    assert read(reporter.message(1)).sections["models/m"].problem == LONGEST


@pytest.mark.anyio
async def test_it_goes_out_at_each_connection_and_each_change_and_not_otherwise(reporter: Reporter) -> None:
    link = MemoryLink()
    presence, reported = topics.up(DEVICE, "presence"), topics.up(DEVICE, "reported")
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        assert [topic for topic, _ in await link.wait_for(2)] == [presence, reported]
        reporter.touch()
        assert [topic for topic, _ in await link.wait_for(3)][2:] == [reported]
        await wait_all_tasks_blocked()
        link.disconnect()
        await wait_all_tasks_blocked()
        link.connect()
        assert [topic for topic, _ in await link.wait_for(5)][3:] == [presence, reported]
        places = [(read(data).connection, read(data).sequence) for topic, data in link.sent if topic == reported]
        assert places == [(1, 0), (1, 1), (2, 0)]
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_what_changes_within_the_pause_goes_into_one_report_and_the_last_of_it_is_said() -> None:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), pause_s=0.2)
    link, reported = MemoryLink(), topics.up(DEVICE, "reported")
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        await link.wait_for(2)
        for number in range(10):
            reporter.section("models/m", SectionReport(state="working", deployment=f"dp-{number}"))
            await wait_all_tasks_blocked()
        sent = [read(data) for topic, data in await link.wait_for(3) if topic == reported]
        group.cancel_scope.cancel()
    assert [state.sequence for state in sent] == [0, 1]
    assert sent[-1].sections["models/m"].deployment == "dp-9"


@pytest.mark.anyio
async def test_steps_linger_and_how_it_ended_is_said_at_once_in_one_report() -> None:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), linger_s=60)
    link = MemoryLink()
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        await link.wait_for(2)
        reporter.accepted((1, 7))
        reporter.section("config", SectionReport(state="applied"))
        for step in ("fetch", "stage"):
            reporter.section("models/m", SectionReport(state="working", step=step))
            await wait_all_tasks_blocked()
        assert len(link.sent) == 2
        reporter.section("models/m", SectionReport(state="applied"))
        await link.wait_for(3)
        await wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(link.sent) == 3
    state = read(link.sent[-1][1])
    assert (state.generation, state.sections["models/m"].state) == (7, "applied")


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["failed", "held", "refused", "trying again"])
async def test_a_problem_does_not_linger(what: str) -> None:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), linger_s=60)
    link = MemoryLink()
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        await link.wait_for(2)
        if what == "refused":
            reporter.refused(LONGEST)
        else:
            state = SECTION_STATES[what]
            reporter.section("models/m", SectionReport(state=state, problem=LONGEST))
        await link.wait_for(3)
        group.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("state", "waits_s"), [("working", 0.3), ("applied", 0.1), ("trust", 0.5)], ids=["on its way", "settled", "trust"]
)
async def test_what_changes_is_reported_after_a_moment_and_later_while_a_section_is_on_its_way(
    state: str, waits_s: float
) -> None:
    reporter = Reporter(
        HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), linger_s=0.1, progress_s=0.3, trust_s=0.5
    )
    link = MemoryLink()
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        await link.wait_for(2)
        started_s = anyio.current_time()
        if state == "trust":
            reporter.trust_changed()
        else:
            reporter.accepted((1, 7))
            reporter.section("models/m", SectionReport(state="working" if state == "working" else "applied"))
        await link.wait_for(3)
        assert waits_s <= anyio.current_time() - started_s < waits_s + 0.15
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_problem_with_trust_and_its_end_are_said_at_once() -> None:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), trust_s=60)
    link, problem = MemoryLink(), Problem(code="trust", message="expired", remedy="wait")
    trust = TrustReport(root_version=1, timestamp_version=1, targets_version=1, floor_at=datetime.now(timezone.utc))
    reporter.trust = lambda: trust
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.publish_changes, link)
        link.connect()
        await link.wait_for(2)
        for count, told in ((3, problem), (4, None)):
            trust = trust.model_copy(update={"problem": told})
            reporter.trust_changed()
            await link.wait_for(count)
            await wait_all_tasks_blocked()
            reporter.trust_changed()
            await wait_all_tasks_blocked()
            assert len(link.sent) == count
        group.cancel_scope.cancel()
    assert [read(data).trust.problem for _, data in link.sent[2:]] == [problem, None]  # type: ignore[union-attr]
