"""What the tests of pipelines share: a device around one, and waiting for what it does."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.errors import AgentError
from shoal_agent.features.running import RunningPipeline, Surroundings
from shoal_agent.features.store import FeatureStore
from shoal_agent.serving import ModelServer
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import CountWindow, DesiredFeatures, EventForm, Feature, FeatureDefinition, Pipeline

BY_TIME = EventForm(time_field="t", entity_field="id")
NOW_NS = 30_000_000_000_000
"""The device's clock: events of the tests are of the hours after 1970 began."""
PAIRS = FeatureDefinition(
    window=CountWindow(size=2, every=2),
    features={
        "mean": Feature(aggregate="mean", field="x", ttl_s=86_400),
        "last": Feature(aggregate="last", field="x", ttl_s=86_400),
    },
)


@dataclass
class Device:
    """A data folder, and what pipelines have around them."""

    folder: Path
    server: ModelServer = field(default_factory=ModelServer)
    seen: SeenRequests = field(default_factory=SeenRequests)
    problems: list[dict[str, AgentError]] = field(default_factory=list)
    quick: dict[str, Any] = field(default_factory=dict)
    now_ns: Callable[[], int] = lambda: NOW_NS

    def __post_init__(self) -> None:
        (self.folder / "streams").mkdir(exist_ok=True)
        usual = {
            "retry_min_s": 0.01,
            "retry_max_s": 0.05,
            "report_pause_s": 0.05,
            "sink_timeout_s": 2.0,
            "tick_s": 0.05,
            "grace_s": 0.0,
        }
        self.settings = FeatureSettings(folders=(self.folder / "streams",), **{**usual, **self.quick})
        self.store = FeatureStore(self.folder / "features.sqlite", self.settings, self.now_ns)

    def around(self) -> Surroundings:
        return Surroundings(self.store, self.server, self.seen, self.settings, self.now_ns)

    def make(self, pipeline: Pipeline, **definitions: FeatureDefinition) -> RunningPipeline:
        wanted = DesiredFeatures(definitions=definitions or {"pairs": PAIRS}, pipelines={"p": pipeline})
        return RunningPipeline("p", wanted, self.around(), self.problems.append)

    @asynccontextmanager
    async def running(self, pipeline: Pipeline, **definitions: FeatureDefinition) -> AsyncIterator[RunningPipeline]:
        made = self.make(pipeline, **definitions)
        async with anyio.create_task_group() as group:
            group.start_soon(made.run)
            yield made
            await made.stop()

    def restart(self) -> None:
        """Let go of the store, and open it again as the next start of the agent does."""
        self.store.close()
        self.store = FeatureStore(self.folder / "features.sqlite", self.settings, self.now_ns)

    def value(self, name: str, entity: str = "a") -> float | None:
        found = self.store.read(entity).get(name)
        return found.value if found else None


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.store.close()


def line(entity: str, at_s: float, x: float) -> bytes:
    return json.dumps({"id": entity, "t": at_s, "x": x}).encode() + b"\n"


async def until(is_so: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for what other threads and processes do, and tell of no event for."""
    with anyio.fail_after(timeout_s):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.005)
