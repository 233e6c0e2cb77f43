"""What a version costs is measured as it is loaded: what the process grows by, and the time of one sample."""

from collections.abc import Mapping

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Array, BeforeUse, CostMeter
from shoal_agent.telemetry import resident_bytes
from shoal_contract.manifest import TensorSpec

ARRAY_BYTES = 100_000
"""Less than what glibc maps by itself, so that it comes from the heap."""


class _Slow:
    """An engine that takes as many seconds as it is told, one run after the other, and holds what it is given."""

    outputs = tiny.OUTPUTS

    def __init__(self, *seconds: float, inputs: tuple[TensorSpec, ...] = tiny.INPUTS) -> None:
        self.inputs = inputs
        self.shapes: list[tuple[int, ...]] = []
        self.now_s = 0.0
        self._seconds = list(seconds)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.shapes.append(inputs["x"].shape)
        self.now_s += self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]
        return {}

    def close(self) -> None:
        """Hold nothing."""


def _measure(engine: _Slow, readings: tuple[int, ...] = (0,), self_test_s: float = 0.001) -> tuple[float, int, int]:
    left = iter(readings)
    meter = CostMeter(lambda: next(left), release=lambda: None, clock_s=lambda: engine.now_s)
    cost = meter.measure(engine, tiny.tiny_manifest(), tiny.onnx_variant(), BeforeUse(100, self_test_s))
    assert cost.sha256 == tiny.onnx_variant().sha256
    return cost.latency_p50_ms, cost.runs, cost.memory_bytes


def test_the_latency_is_the_median_of_runs_of_one_sample_without_the_first() -> None:
    engine = _Slow(0.9, 0.001, 0.003, 0.002)
    assert _measure(engine)[:2] == (pytest.approx(2.0), 21)
    assert set(engine.shapes) == {(1, *tiny.GOLDEN.shape[1:])}


def test_a_model_that_takes_one_size_of_batch_alone_is_timed_with_the_golden_input() -> None:
    fixed = tuple(spec.model_copy(update={"shape": tiny.GOLDEN.shape}) for spec in tiny.INPUTS)
    engine = _Slow(0.01, inputs=fixed)
    _measure(engine)
    assert set(engine.shapes) == {tiny.GOLDEN.shape}


def test_a_model_whose_request_is_one_sample_is_timed_with_the_golden_input() -> None:
    engine = _Slow(0.01)
    manifest = tiny.tiny_manifest().model_copy(update={"batching": "none"})
    meter = CostMeter(lambda: 0, release=lambda: None, clock_s=lambda: engine.now_s)
    meter.measure(engine, manifest, tiny.onnx_variant(), BeforeUse(0, 0.001))
    assert set(engine.shapes) == {tiny.GOLDEN.shape}


def test_a_slow_model_is_run_once_and_no_more() -> None:
    assert _measure(_Slow(40.0))[:2] == (pytest.approx(40_000.0), 1)


def test_a_slow_model_that_was_tested_on_the_same_input_is_not_run_again() -> None:
    fixed = tuple(spec.model_copy(update={"shape": tiny.GOLDEN.shape}) for spec in tiny.INPUTS)
    slow, batched = _Slow(40.0, inputs=fixed), _Slow(1.5)
    assert _measure(slow, self_test_s=30.0)[:2] == (pytest.approx(30_000.0), 1)
    assert slow.shapes == []
    assert _measure(batched, self_test_s=30.0)[:2] == (pytest.approx(1500.0), 1), "one sample of a batch was not timed"


def test_what_the_process_has_shrunk_by_costs_nothing() -> None:
    assert _measure(_Slow(1.0), (99,))[2] == 0
    assert _measure(_Slow(1.0), (150,))[2] == 50


def test_a_clock_that_goes_back_gives_no_negative_time() -> None:
    assert _measure(_Slow(2.0, -5.0))[0] >= 0


def _fill() -> list[Array]:
    return [np.ones(ARRAY_BYTES, "u1") for _ in range(400)]


def test_what_is_loaded_into_memory_that_was_freed_before_counts_all_the_same() -> None:
    meter = CostMeter(resident_bytes)
    former = _fill()
    pin = np.ones(ARRAY_BYTES, "u1")  # at the end of the heap, so that the C library keeps what is freed before it
    del former
    before_bytes = meter.held_bytes()
    loaded = _fill()
    cost = meter.measure(_Slow(0.001), tiny.tiny_manifest(), tiny.onnx_variant(), BeforeUse(before_bytes, 0.001))
    size_bytes = ARRAY_BYTES * len(loaded) + 0 * len(pin)
    assert 0.9 * size_bytes < cost.memory_bytes < 1.5 * size_bytes
