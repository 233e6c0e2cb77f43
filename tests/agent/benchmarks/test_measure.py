"""Timing beside a device that has other things to do: by a pace and an engine whose clock the test turns."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.batch.pace import AgentLoad, Pace
from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.benchmarks.measure import Stopwatch, answers_of, time_runs
from shoal_agent.benchmarks.samples import BenchmarkSamples
from shoal_agent.engines import Array, EngineSetup
from shoal_contract.benchmarks import BenchmarkCandidate, DesiredBenchmark
from shoal_contract.manifest import TensorSpec

SAMPLES = BenchmarkSamples({"x": np.zeros((40, 4), np.float32)}, None)
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Time:
    """A clock that goes on by what is done; the agent has answered for `busy_s` in all."""

    def __init__(self) -> None:
        self.now_s, self.busy_s = 0.0, 0.0

    def statistics(self) -> Any:
        busy_ns = self.busy_s * 1e9
        part = {one: {"ns": busy_ns if one == "compute_infer" else 0} for one in ("compute_input", "compute_output")}
        return {"model_stats": [{"inference_stats": part | {"compute_infer": {"ns": busy_ns}}}]}


class Slow:
    """Takes 10 ms a run, whatever it is asked; `disturb` tells in which runs the agent is busy."""

    inputs, outputs, setup, is_in_use = tiny.INPUTS, tiny.OUTPUTS, EngineSetup("none"), False

    def __init__(self, time: Time, disturb: Any = lambda _run: False, answer: float = 0.5) -> None:
        self.time, self.disturb, self.runs, self.answer = time, disturb, 0, answer

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        is_disturbed = self.disturb(self.runs)
        self.time.now_s += 0.03 if is_disturbed else 0.01
        self.time.busy_s += 0.02 if is_disturbed else 0.0
        self.runs += 1
        return {"probabilities": np.full((len(inputs["x"]), 3), self.answer, np.float32)}

    def close(self) -> None:
        """Nothing is open."""


def wanted(**changes: Any) -> DesiredBenchmark:
    candidate = BenchmarkCandidate(name="one", runtime="onnxruntime", sha256="1" * 64, size_bytes=1)
    fields: dict[str, Any] = {"inputs": tiny.INPUTS, "outputs": tiny.OUTPUTS, "candidates": (candidate,)}
    fields |= {"samples_sha256": "2" * 64, "samples_bytes": 1, "deadline_at": NOW + timedelta(hours=1)}
    return DesiredBenchmark.model_validate(fields | {"runs": 200, "warm_up_runs": 1, "max_seconds": 20.0} | changes)


def watch_of(time: Time, max_s: float = 20.0) -> Stopwatch:
    def wait(seconds: float) -> None:
        time.now_s += seconds

    load = AgentLoad(time.statistics, lambda: time.now_s)
    pace = Pace(threading.Event(), lambda: NOW, load=load, clock_s=lambda: time.now_s, wait=wait, check_s=0.5)
    return Stopwatch(pace, max_s, lambda: time.now_s)


def test_runs_beside_requests_are_thrown_away_and_repeated() -> None:
    time = Time()
    engine = Slow(time, disturb=lambda run: 60 <= run < 90)
    spread, disturbed = time_runs(engine, wanted(), SAMPLES, watch_of(time))
    assert spread.runs == 200
    assert disturbed > 0
    assert spread.p95 == pytest.approx(10.0), "no disturbed run is among those that count"


def test_an_agent_that_is_never_idle_is_said_to_be_and_not_measured() -> None:
    time = Time()
    with pytest.raises(BenchmarkError, match=r"answered requests in all of \d+ s, so that none of \d+ counts"):
        time_runs(Slow(time, disturb=lambda _run: True), wanted(), SAMPLES, watch_of(time, max_s=2.0))


def test_a_slow_candidate_is_timed_for_as_long_as_it_may_take() -> None:
    time = Time()
    spread, _ = time_runs(Slow(time), wanted(runs=10_000), SAMPLES, watch_of(time, max_s=3.0))
    assert 100 < spread.runs < 400


def test_answers_stop_at_half_of_the_time_and_say_how_many_there_are() -> None:
    time = Time()
    many = BenchmarkSamples({"x": np.zeros((32_000, 4), np.float32)}, None)
    classes = answers_of(Slow(time), wanted(), many, watch_of(time, max_s=2.0))
    assert 0 < len(classes) < 32_000


def test_an_answer_that_is_not_finite_is_no_measurement() -> None:
    time = Time()
    with pytest.raises(BenchmarkError, match="40 of 40 has NaN or infinity, first 0"):
        answers_of(Slow(time, answer=np.inf), wanted(), SAMPLES, watch_of(time))


def test_a_model_without_a_batch_axis_is_asked_sample_by_sample() -> None:
    time = Time()
    engine = Slow(time)
    one = TensorSpec(name="x", datatype="FP32", shape=(4,))
    assert len(answers_of(engine, wanted(inputs=(one,)), SAMPLES, watch_of(time))) == 40
    assert engine.runs == 40


def test_single_scores_are_cut_where_the_first_candidate_s_say() -> None:
    time = Time()
    first = answers_of(Scored(time, [0.1, 0.4, 0.6, 0.9] * 10), wanted(), SAMPLES, watch_of(time))
    other = Scored(time, [-0.1, 0.4, 0.6, 0.9] * 10)
    assert (answers_of(other, wanted(), SAMPLES, watch_of(time), first.cut).classes == first.classes).all()


class Scored(Slow):
    """Answers with these scores in turn, one for each sample."""

    def __init__(self, time: Time, scores: list[float]) -> None:
        super().__init__(time)
        self.scores = iter(scores)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        count = len(super().infer(inputs)["probabilities"])
        return {"probabilities": np.array([[next(self.scores)] for _ in range(count)], np.float32)}
