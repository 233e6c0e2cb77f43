"""One pipeline that runs: source, inbox, computation, store, model, sinks. None of its steps waits for a later one."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from logging import getLogger
from typing import Any

import anyio
import anyio.to_thread

from shoal_agent.backlog import Backlog
from shoal_agent.errors import AgentError, DiskError
from shoal_agent.features.computation import Closed, Computation
from shoal_agent.features.delivery import Delivery
from shoal_agent.features.model_call import ModelAnswer, ModelCall
from shoal_agent.features.results import result_lines
from shoal_agent.features.sinks import make_sink
from shoal_agent.features.sources import make_source
from shoal_agent.features.store import FeatureStore, SavedPipeline
from shoal_agent.serving import ModelServer, Observer, OnDemand
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import DesiredFeatures
from shoal_numerics.features.events import Arrival

_log = getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What every pipeline of a device has around it.

    Attributes:
        store: Latest values and saved windows.
        server: Models that are served.
        observer: Sees what they answer.
        settings: Bounds; `folders` names one at least.
        clock_ns: The device's time in ns since 1970.
        on_demand: Has models loaded that gave way to others; None: none does.
    """

    store: FeatureStore
    server: ModelServer
    observer: Observer
    settings: FeatureSettings
    clock_ns: Callable[[], int]
    on_demand: OnDemand | None = None


class RunningPipeline:
    """A pipeline, from `run` until `stop`. Belongs to the event loop.

    Args:
        name: Its name.
        wanted: Its declaration, and its definitions.
        around: What it has around it.
        tell: Called with what is wrong with it by part, each time that changes; empty: nothing is.

    Raises:
        FeaturesError: It can not run as it is declared, or not on this device.
        DiskError: The store can not be read.
    """

    def __init__(
        self, name: str, wanted: DesiredFeatures, around: Surroundings, tell: Callable[[dict[str, AgentError]], None]
    ) -> None:
        declared = wanted.pipelines[name]
        settings = around.settings
        self.name = name
        self._around = around
        self._tell = tell
        self._problems: dict[str, AgentError] = {}
        saved = around.store.saved(name)
        self.computation = Computation(declared, wanted.definitions, saved.windows, settings)
        self.computation.place = saved.place
        self._source = make_source(declared.source, saved.place, settings.folders, around.clock_ns)
        self.takes_pushes = declared.source.kind == "http"
        definitions = {one: wanted.definitions[one] for one in declared.definitions}
        self._model = (
            ModelCall(declared.model, definitions, around.server, around.observer, around.store, around.on_demand)
            if declared.model is not None
            else None
        )
        self.inbox: Backlog[Arrival] = Backlog(declared.max_waiting)
        self.deliveries = []
        for number, one in enumerate(declared.sinks):
            part = f"{one.kind} sink {number + 1}"
            sink = make_sink(one, settings)
            self.deliveries.append(Delivery(part, sink, declared.max_waiting, settings, partial(self._note, part)))
        for defined, definition in definitions.items():
            around.store.define(defined, definition)
        self.is_ready = anyio.Event()
        """Set once its source has been reached."""
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._saved_s = time.monotonic()

    async def run(self) -> None:
        """Run until `stop`, or until what it runs in is cancelled; open windows are saved then."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._bring)
                    for delivery in self.deliveries:
                        group.start_soon(delivery.run)
                    await self._compute()
        finally:
            with anyio.CancelScope(shield=True):
                await self._save()
            self._ended.set()

    async def stop(self) -> None:
        """End; return once nothing of it runs any more."""
        self._scope.cancel()
        await self._ended.wait()

    def now_ns(self) -> int:
        """Return the time of what comes now."""
        return self._around.clock_ns()

    def counts(self) -> dict[str, Any]:
        """Return what became of messages, events, windows and results since it began."""
        windows = {name: asdict(one.counts) for name, one in self.computation.windows.items()}
        return {
            "messages": {"come": self.inbox.put_in, "dropped": self.inbox.dropped, "waiting": len(self.inbox)},
            "lines": asdict(self.computation.reader.counts),
            "definitions": windows,
            "model": asdict(self._model.counts) if self._model is not None else None,
            "sinks": [delivery.counts() for delivery in self.deliveries],
            "problems": {part: f"{error}; {error.remedy}" for part, error in self._problems.items()},
        }

    async def _bring(self) -> None:
        """Run the source, again and again where it fails."""
        settings = self._around.settings
        pause_s = settings.retry_min_s
        while True:
            came = self.inbox.put_in
            try:
                await self._source.run(self.inbox, self._ready)
            except AgentError as error:
                self._note("source", error)
            if self.inbox.put_in > came:
                pause_s = settings.retry_min_s
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, settings.retry_max_s)

    def _ready(self) -> None:
        self.is_ready.set()
        self._note("source", None)

    async def _compute(self) -> None:
        settings = self._around.settings
        tick_s = min(settings.tick_s, max(self.computation.step_s, 0.05))
        while True:
            arrivals: list[Arrival] = []
            with anyio.move_on_after(tick_s):
                arrivals = await self.inbox.take(settings.batch_messages)
            closed, problem = await anyio.to_thread.run_sync(self._work, arrivals)
            self._note("store", problem)
            for one in closed:
                await self._give_out(one)
            if time.monotonic() - self._saved_s >= settings.save_s:
                await self._save()

    def _work(self, arrivals: list[Arrival]) -> tuple[list[Closed], DiskError | None]:
        """Compute and keep the values; in a worker thread, so that what is served does not wait for it."""
        closed = self.computation.take(arrivals)
        problem = None
        for one in closed:
            try:
                self._around.store.put(one.definition, one.rows)
            except DiskError as error:  # results go to the sinks all the same
                problem = error
        return closed, problem

    async def _give_out(self, closed: Closed) -> None:
        name, rows = closed
        first = next(iter(self.computation.windows))
        answers: list[ModelAnswer | None] = [None] * len(rows.entities)
        if self._model is not None and name == first:
            answers = await self._model.answer(rows)
            self._note("model", self._model.problem)
        if self.deliveries:
            names = self.computation.windows[name].plan.names
            lines = result_lines(self.name, name, names, rows, answers)
            for delivery in self.deliveries:
                delivery.waiting.put(lines)

    async def _save(self) -> None:
        self._saved_s = time.monotonic()
        try:
            await anyio.to_thread.run_sync(self._write)
        except DiskError as error:
            self._note("saved windows", error)
        else:
            self._note("saved windows", None)

    def _write(self) -> None:
        saved = SavedPipeline(self.computation.states(), self.computation.place)
        self._around.store.save(self.name, saved)

    def _note(self, part: str, problem: AgentError | None) -> None:
        """Take note of what is wrong with a part, and tell of it if that is news."""
        former = self._problems.get(part)
        if problem is None:
            self._problems.pop(part, None)
        else:
            self._problems[part] = problem
        if str(former) != str(problem):
            level = "works again" if problem is None else f"{problem}; {problem.remedy}"
            _log.warning("features: pipeline %s: %s: %s", self.name, part, level)
            self._tell(dict(self._problems))
