"""Real tiny models as members, engines that count what they are asked, and compositions of them behind a server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, GatedEngine, running
from tests.agent.test_sections import HARDWARE
from tests.simulators.tiny_model import FEATURES, TinyVersion

from shoal_agent.clock import system_clock
from shoal_agent.compositions import Compositions
from shoal_agent.engines import Array, Engine, load_engine
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_agent.serving import ServedModel, ServingSettings
from shoal_contract.compositions import Cascade, DesiredComposition, Ensemble, Member, Stage
from shoal_contract.ids import sha256_hex
from shoal_contract.reported import SectionReport

ROWS = np.random.default_rng(0).normal(size=(9, FEATURES)).astype(np.float32)


class Counting(GatedEngine):
    """A real engine that notes how many samples it is asked in each run."""

    def __init__(self, engine: Engine, together: int = 1) -> None:
        super().__init__(engine, together=together)
        self.gate.set()
        self.asked: list[int] = []

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.asked.append(len(next(iter(inputs.values()))))
        return super().infer(inputs)


@dataclass
class Models:
    """Makes served versions of real files."""

    folder: Path
    engines: dict[tuple[str, int], Counting] = field(default_factory=dict)

    def member(self, name: str, version: int = 1, **changes: object) -> ServedModel:
        """Return a version of a model; `changes` are of its manifest."""
        tiny = TinyVersion(version * 10 + len(name), model=name)
        manifest = tiny.manifest().model_copy(update={"version": version, **changes})
        path = self.folder / f"{name}-{version}.onnx"
        path.write_bytes(tiny.file)
        engine = Counting(load_engine(path, manifest.variants[0], tiny.manifest().inputs, tiny.manifest().outputs))
        self.engines[name, version] = engine
        target = manifest.variants[0].target
        return ServedModel(name, version, target, manifest, sha256_hex(manifest.to_bytes()), engine)

    def answer(self, served: ServedModel, rows: Array = ROWS) -> Array:
        """Return what a version says by itself, without that being counted."""
        counting = self.engines[served.name, served.version]
        return counting.engine.infer({"image": np.ascontiguousarray(rows)})["probabilities"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def ensemble(*models: str, **changes: object) -> DesiredComposition:
    """Return an ensemble of models, all of weight 1 unless `changes` say otherwise."""
    form = Ensemble.model_validate({"members": [Member(model=model) for model in models], **changes})
    return DesiredComposition(form=form)


def cascade(confidence: float, *models: str) -> DesiredComposition:
    """Return a cascade in which each model but the last has to be so sure."""
    *before, last = models
    stages = [*(Stage(model=model, confidence=confidence) for model in before), Stage(model=last)]
    return DesiredComposition(version=7, form=Cascade(stages=tuple(stages)))


@dataclass
class Composed:
    """An endpoint, and the compositions of what it serves."""

    endpoint: Endpoint
    compositions: Compositions
    sections: Sections
    reporter: Reporter

    def follow(self, **wanted: DesiredComposition) -> None:
        self.compositions.follow(wanted, self.sections)

    async def until(self, name: str, state: str | None) -> SectionReport:
        """Wait until a composition is reported in a state; None: no longer reported."""
        with anyio.fail_after(5):
            while True:
                report = self.reporter.snapshot(1).sections.get(f"compositions/{name}")
                if (report.state if report else None) == state:
                    return report or SectionReport(state="applied")
                await anyio.sleep(0.001)

    async def serve(self, *members: ServedModel) -> None:
        for member in members:
            await self.endpoint.server.swap(member.name, member)


@asynccontextmanager
async def composing(settings: ServingSettings | None = None) -> AsyncIterator[Composed]:
    """Serve, with compositions, until the block ends; a section that waits looks again only when it is told."""
    async with running(settings or ServingSettings()) as endpoint, anyio.create_task_group() as group:
        reporter = Reporter(HARDWARE, (), (), "0", system_clock)
        sections = Sections(group, reporter, 3600.0, 3600.0)
        compositions = Compositions(endpoint.server, endpoint.seen, reporter.section)
        yield Composed(endpoint, compositions, sections, reporter)
        compositions.close()
        group.cancel_scope.cancel()


def weighted(wanted: DesiredComposition, *weights: float) -> DesiredComposition:
    """Return an ensemble whose members have these weights."""
    assert isinstance(wanted.form, Ensemble)
    pairs = zip(wanted.form.members, weights, strict=True)
    members = tuple(member.model_copy(update={"weight": weight}) for member, weight in pairs)
    return wanted.model_copy(update={"form": wanted.form.model_copy(update={"members": members})})


def closed(engine: Counting) -> bool:
    """Whether an engine was closed, once and for all."""
    assert engine.closed <= 1
    return engine.closed == 1


def watched(served: ServedModel, together: int) -> ServedModel:
    """Return a version that takes several requests together."""
    assert isinstance(served.engine, Counting)
    served.engine.together = together
    return replace(served)
