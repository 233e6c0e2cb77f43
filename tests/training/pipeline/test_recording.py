"""What a tracking server is told of a run, by a sink that notes it, and that fails where a test wants."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal_training.errors import DataError
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.record import RunRecord, State
from shoal_training.pipeline.recording import Point, Recorder, SinkError, Told
from shoal_training.pipeline.running import run_pipeline

TEXT = """\
name: cheap
data_ingestion: {sources: [{path: rows.parquet}]}
model_training:
  target: y
  trainer: {framework: xgboost, rounds: 5, max_depth: 2}
model_evaluation: {resamples: 0}
"""


class Noted:
    """A `RunSink` that keeps what it is told; from call number `fails_at` on it fails."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.calls: list[str] = []
        self.settings: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.points: list[Point] = []
        self.files: dict[str, bytes] = {}
        self.state: State = "running"
        self._fails_at = fails_at

    def begin(self, experiment: str, name: str, started_at: datetime, tags: Mapping[str, str]) -> Told:
        self._note(f"begin {experiment}")
        assert name
        assert started_at.tzinfo is not None
        self.tags |= tags
        return {(one.name, one.step) for one in self.points}

    def params(self, params: Mapping[str, str]) -> None:
        self._note("params")
        self.settings |= params

    def data(self, name: str, digest: str) -> None:
        self._note(f"data {name} {len(digest)}")

    def metrics(self, points: Sequence[Point]) -> None:
        self._note("metrics")
        self.points += points

    def file(self, name: str, path: Path) -> None:
        self._note("file")
        self.files[name] = path.read_bytes()

    def end(self, state: State, ended_at: datetime, tags: Mapping[str, str]) -> None:
        self._note(f"end {ended_at.tzinfo is not None}")
        self.state = state
        self.tags |= tags

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) >= self._fails_at:
            raise SinkError("the hub is gone")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., RunRecord]:
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "high", "low")})
    pq.write_table(table, tmp_path / "rows.parquet")

    def do(sink: Noted, warnings: list[str] | None = None, text: str = TEXT) -> RunRecord:
        (tmp_path / "pipeline.yaml").write_text(text)
        recorder = Recorder(sink, (warnings if warnings is not None else []).append)
        return run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store", recorder=recorder)

    return do


def values(sink: Noted) -> dict[tuple[str, int], float]:
    assert len({(one.name, one.step) for one in sink.points}) == len(sink.points), "each is told once"
    return {(one.name, one.step): one.value for one in sink.points}


def test_a_run_is_told_from_its_beginning_to_its_end(train: Callable[..., RunRecord]) -> None:
    sink = Noted()
    run = train(sink)
    assert sink.calls[:3] == ["begin cheap", "params", "data cheap 64"]
    assert sink.calls[-1] == "end True"
    assert (sink.state, sink.settings["max_depth"]) == ("finished", "2")
    told = values(sink)
    for name, points in run.history.items():
        assert [told[name, step] for step, _ in points] == [value for _, value in points]
    assert all(told[name, 5] == value for name, value in run.metrics.items())
    assert {"run.json", "reports/evaluation.html"} <= set(sink.files)
    assert sink.tags["shoal.data"] == run.snapshot
    assert "numpy" in sink.tags["shoal.packages"]


def test_a_training_that_was_done_before_is_told_with_the_history_that_it_had(train: Callable[..., RunRecord]) -> None:
    first, again = Noted(), Noted()
    train(first)
    train(again)
    assert values(again) == values(first)


def test_a_run_that_is_gone_on_with_is_told_nothing_twice(train: Callable[..., RunRecord]) -> None:
    sink = Noted()
    run = train(sink)
    warnings = list[str]()
    recorder = Recorder(sink, warnings.append, clock=lambda: 0.0)
    recorder.begun(run)
    told = len(sink.points)
    recorder.measured("train_loss", 1.0, 1)
    recorder.measured("train_loss", 0.5, 99)
    recorder.ended(run.model_copy(update={"metrics": {}}), Path())
    assert [(one.name, one.step) for one in sink.points[told:]] == [("train_loss", 99)]
    assert warnings == []


@pytest.mark.parametrize("call", [1, 4])
def test_a_server_that_fails_ends_the_telling_and_not_the_training(train: Callable[..., RunRecord], call: int) -> None:
    sink, warnings = Noted(fails_at=call), list[str]()
    assert train(sink, warnings).state == "finished"
    assert len(sink.calls) == call
    assert warnings == ["the run is recorded no further: the hub is gone"]


def test_a_run_that_fails_is_told_with_its_reason(train: Callable[..., RunRecord]) -> None:
    sink = Noted()
    with pytest.raises(DataError):
        train(sink, text=TEXT.replace("target: y", "target: z"))
    assert sink.state == "failed"
    assert "no column z" in sink.tags["shoal.error"]
    assert "params" not in sink.calls


def test_tuned_settings_are_told_once_they_are_found(train: Callable[..., RunRecord]) -> None:
    sink = Noted()
    tuned = TEXT.replace("target: y", "target: y\n  tuning: {space: {max_depth: [3]}, trials: 1}")
    run = train(sink, text=tuned)
    assert sink.settings["max_depth"] == "3" == str(run.parameters["max_depth"])
    assert any(name.startswith("reports/tuning-") for name in sink.files)
