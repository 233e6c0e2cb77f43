"""Tells a tracking server how a run goes: what it is, what it measures while it trains, what it leaves.

Which server, and how it is spoken to, is a `RunSink`'s, given in by whoever runs the pipeline. A server that fails
ends the telling, and not the training.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from shoal_training.errors import TrainingError
from shoal_training.pipeline.record import RUN_FILE, RunRecord, State

PIPELINE_FILE: Final = "pipeline.yaml"
_FLUSH_S: Final = 2.0
"""Between two writes of what is measured on the way."""
_BATCH: Final = 500
_MAX_PARAM: Final = 6000
_SHOWN_PACKAGES: Final = ("numpy", "onnx", "scikit-learn", "torch", "keras", "tensorflow", "xgboost-cpu", "optuna")


Told = Collection[tuple[str, int]]
"""Metrics and steps."""


class SinkError(TrainingError):
    """A tracking server can not be reached, or refuses."""


@dataclass(frozen=True)
class Point:
    """A value of a metric at a step; `at_ms` is Unix time."""

    name: str
    value: float
    step: int
    at_ms: int


class RunSink(Protocol):
    """A run at a tracking server. Each of these may raise a `SinkError`."""

    def begin(self, experiment: str, name: str, started_at: datetime, tags: Mapping[str, str]) -> Told:
        """Begin the run, or go on with it; return what it was told before."""

    def params(self, params: Mapping[str, str]) -> None:
        """Say what it is done with: once, and the same if said again."""

    def data(self, name: str, digest: str) -> None:
        """Say which version of the data it learns from."""

    def metrics(self, points: Sequence[Point]) -> None:
        """Keep what was measured."""

    def file(self, name: str, path: Path) -> None:
        """Keep a file, under a name that may have folders."""

    def end(self, state: State, ended_at: datetime, tags: Mapping[str, str]) -> None:
        """Say how it ended."""


class Recorder:
    """Follows one run for a sink.

    Args:
        sink: Where it is recorded; None: nowhere.
        warn: Told once if that fails.
        clock: Unix time, in seconds.
    """

    def __init__(
        self, sink: RunSink | None, warn: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._sink, self._warn, self._clock = sink, warn, clock
        self._waiting: list[Point] = []
        self._told: set[tuple[str, int]] = set()
        self._flushed_s = clock()
        self._params: dict[str, str] = {}

    def begun(self, run: RunRecord) -> None:
        """Begin with a run."""
        tags = _tags(run)

        def begin(sink: RunSink) -> None:
            self._told = set(sink.begin(run.pipeline, run.id, run.started_at, tags))

        self._tell(begin)

    def trains(self, run: RunRecord) -> None:
        """Say what a run trains with, now that it is settled."""
        self._params = params_of(run)
        self._tell(lambda sink: sink.params(self._params))
        if run.snapshot:
            self._tell(lambda sink: sink.data(run.pipeline, run.snapshot))

    def measured(self, name: str, value: float, step: int) -> None:
        """Keep what a trainer tells on the way; one that goes on from a checkpoint tells what was before again."""
        if (name, step) in self._told:
            return
        self._told.add((name, step))
        self._waiting.append(Point(name, value, step, self._now_ms()))
        if self._clock() - self._flushed_s >= _FLUSH_S:
            self._flush()

    def ended(self, run: RunRecord, folder: Path) -> None:
        """Record all that a run has left in its folder, and how it ended."""
        for name, points in run.history.items():  # of a training that was done before, which told nobody
            told = [(step, value) for step, value in points if (name, step) not in self._told]
            self._waiting += [Point(name, value, step, self._now_ms()) for step, value in told]
        last = max((step for points in run.history.values() for step, _ in points), default=0)
        self._waiting += [Point(name, value, last, self._now_ms()) for name, value in run.metrics.items()]
        self._flush()
        for name, path in files_of(run, folder):
            self._tell(lambda sink, name=name, path=path: sink.file(name, path))  # type: ignore[misc]
        ended_at, tags = run.ended_at or run.started_at, _end_tags(run)
        self._tell(lambda sink: sink.end(run.state, ended_at, tags))

    def _flush(self) -> None:
        self._flushed_s = self._clock()
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._tell(lambda sink, batch=batch: sink.metrics(batch))  # type: ignore[misc]

    def _tell(self, say: Callable[[RunSink], None]) -> None:
        if self._sink is None:
            return
        try:
            say(self._sink)
        except SinkError as error:
            self._sink = None
            self._warn(f"the run is recorded no further: {error}")

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def params_of(run: RunRecord) -> dict[str, str]:
    """Return what a run is done with as texts, nested fields under names with dots."""
    return dict(_flat(run.parameters))


def files_of(run: RunRecord, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that a run has for people, by the names that they are recorded under."""
    given = {"evaluation": run.evaluation, **run.reports}
    for name, text in given.items():
        path = Path(text)
        if text and path.is_file():
            yield f"reports/{name}{path.suffix}", path
    if (folder / RUN_FILE).is_file():
        yield RUN_FILE, folder / RUN_FILE


def _tags(run: RunRecord) -> dict[str, str]:
    packages = {name: run.environment.packages[name] for name in _SHOWN_PACKAGES if name in run.environment.packages}
    tags = {
        "shoal.run": run.id,
        "shoal.pipeline_sha256": run.pipeline_sha256,
        "shoal.python": run.environment.python,
        "shoal.platform": run.environment.platform,
        "shoal.packages": json.dumps(packages),
        "mlflow.source.type": "LOCAL",
    }
    if run.code is not None:
        tags |= {"mlflow.source.git.commit": run.code.commit, "shoal.code_is_dirty": str(run.code.is_dirty).lower()}
    return tags


def _end_tags(run: RunRecord) -> dict[str, str]:
    tags = {"shoal.data": run.snapshot, "shoal.error": run.error[:_MAX_PARAM]}
    if run.warnings:
        tags["shoal.warnings"] = "\n".join(run.warnings)[:_MAX_PARAM]
    return {name: text for name, text in tags.items() if text}


def _flat(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{before}{name}", text[:_MAX_PARAM]
