"""The monitor counts what each version sees against its baseline, cheaply, in constant memory."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.fixtures import tiny

from shoal_agent.engines import Array, load_engine
from shoal_agent.monitor import FinishedWindow, Monitor
from shoal_agent.monitor.answer_sketch import BUFFER_ANSWERS
from shoal_agent.monitor.sketch import BaselineEdges
from shoal_agent.serving import ServedModel
from shoal_contract.desired import DesiredConfig
from shoal_contract.manifest import FeatureBaseline, VersionManifest
from shoal_contract.telemetry import LATENCY_EDGES_MS, OutboxPosition, SketchCounts, Window
from shoal_numerics import Histogram, unpack_counts

START = datetime(2025, 6, 1, tzinfo=timezone.utc)
CONFIG = DesiredConfig(window_requests=10, window_s=60)
NOW_ALL = DesiredConfig(window_requests=1_000_000, window_s=1)


@dataclass
class Clock:
    """Time that moves only when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served() -> ServedModel:
    return _served(tiny.tiny_manifest())


def _served(manifest: VersionManifest, manifest_sha256: str = "a" * 64) -> ServedModel:
    variant = tiny.onnx_variant()
    engine = load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)
    return ServedModel(manifest.model, manifest.version, variant.target, manifest, manifest_sha256, engine)


def _observe(monitor: Monitor, served: ServedModel, x: Array, latency_ms: float = 1.5) -> None:
    monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(x)}, latency_ms, "a-1")


def _counts(sketch: SketchCounts) -> NDArray[np.int64]:
    flat = unpack_counts(base64.b64decode(sketch.data), sketch.rows * sketch.bins)
    return flat.reshape(sketch.rows, sketch.bins)


def _data(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(samples, tiny.FEATURES)).astype(np.float32)


def _take(monitor: Monitor, clock: Clock, config: DesiredConfig = NOW_ALL) -> FinishedWindow:
    [window] = monitor.take_windows(clock.advance(100), config)
    return window


def test_counts_are_those_of_a_histogram_over_all_samples(clock: Clock, served: ServedModel) -> None:
    monitor, x = Monitor(clock), _data(500)
    for row in x:
        _observe(monitor, served, row[np.newaxis])
    window = _take(monitor, clock)
    expected = Histogram.of(BaselineEdges.of(served.manifest.baseline).features, x)
    np.testing.assert_array_equal(_counts(window.features), expected.counts.reshape(tiny.FEATURES, 4))
    scores = tiny.probabilities(x)
    assert window.predictions == tuple(np.bincount(scores.argmax(axis=1), minlength=3).tolist())
    confidence = Histogram.of(BaselineEdges.of(served.manifest.baseline).confidence, scores.max(axis=1))
    assert window.confidence == tuple(confidence.counts.tolist())
    assert (window.requests, window.samples, window.errors) == (500, 500, 0)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_batches_of_any_size_count_like_single_samples(sizes: list[int]) -> None:
    clock, served = Clock(), _served(tiny.tiny_manifest())
    monitor, x = Monitor(clock), _data(sum(sizes))
    for batch in np.split(x, np.cumsum(sizes)[:-1]):
        _observe(monitor, served, batch)
    window = _take(monitor, clock)
    expected = Histogram.of(BaselineEdges.of(served.manifest.baseline).features, x)
    np.testing.assert_array_equal(_counts(window.features).ravel(), expected.counts)
    assert (window.requests, window.samples, sum(window.predictions)) == (len(sizes), len(x), len(x))


def test_a_batch_that_the_caller_reuses_is_not_counted_twice(clock: Clock, served: ServedModel) -> None:
    monitor, x = Monitor(clock), np.full((1, tiny.FEATURES), -5.0, dtype=np.float32)
    _observe(monitor, served, x)
    x[:] = 5.0
    _observe(monitor, served, x)
    np.testing.assert_array_equal(_counts(_take(monitor, clock).features), [[1, 0, 0, 1]] * tiny.FEATURES)


def test_missing_values_are_counted_by_feature(clock: Clock, served: ServedModel) -> None:
    monitor, x = Monitor(clock), _data(3)
    x[1, 2] = np.nan
    monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(_data(3))}, 1.0, "a-1")
    window = _take(monitor, clock)
    assert _counts(window.missing).ravel().tolist() == [0, 0, 1, 0]
    assert _counts(window.features).sum(axis=1).tolist() == [3, 3, 2, 3]


def test_latencies_fall_into_the_contracts_bins(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    for latency_ms in (0.1, 3.0, 3.9, 5000.0):
        _observe(monitor, served, _data(1), latency_ms)
    latency = _take(monitor, clock).latency
    assert len(latency) == len(LATENCY_EDGES_MS) + 1
    assert {n: count for n, count in enumerate(latency) if count} == {0: 1, 4: 2, 13: 1}


def test_errors_count_as_requests_and_leave_the_sketches_alone(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    _observe(monitor, served, _data(2))
    for _ in range(3):
        monitor.observe_error(served)
    window = _take(monitor, clock)
    assert (window.requests, window.errors, window.samples) == (4, 3, 2)
    assert _counts(window.features).sum() == 2 * tiny.FEATURES
    assert sum(window.latency) == 1


def test_a_window_ends_with_enough_requests(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    for n in range(9):
        _observe(monitor, served, _data(1, n))
    assert monitor.take_windows(clock.advance(1), CONFIG) == []
    monitor.observe_error(served)
    [window] = monitor.take_windows(clock.advance(1), CONFIG)
    assert (window.requests, window.started_at, window.ended_at) == (10, START, START + timedelta(seconds=2))


def test_a_window_ends_with_enough_time_and_starts_with_its_first_request(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    clock.advance(500)
    _observe(monitor, served, _data(1))
    assert monitor.take_windows(clock.advance(59), CONFIG) == []
    [window] = monitor.take_windows(clock.advance(1), CONFIG)
    assert window.started_at == START + timedelta(seconds=500)


def test_an_idle_model_gives_no_windows(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    _observe(monitor, served, _data(1))
    assert len(monitor.take_windows(clock.advance(100), CONFIG)) == 1
    assert monitor.take_windows(clock.advance(100), CONFIG) == []


def test_a_clock_that_jumps_back_gives_no_negative_window(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    for n in range(10):
        _observe(monitor, served, _data(1, n))
    [window] = monitor.take_windows(clock.advance(-3600), CONFIG)
    assert window.ended_at == window.started_at


def test_versions_and_manifests_are_never_mixed(clock: Clock) -> None:
    monitor = Monitor(clock)
    _observe(monitor, _served(tiny.tiny_manifest(1)), _data(1))
    _observe(monitor, _served(tiny.tiny_manifest(2)), _data(2))
    _observe(monitor, _served(tiny.tiny_manifest(2), "b" * 64), _data(3))
    windows = monitor.take_windows(clock.advance(100), CONFIG)
    found = {(window.version, window.manifest_sha256[0]): window.samples for window in windows}
    assert found == {(1, "a"): 1, (2, "a"): 2, (2, "b"): 3}


def test_features_may_have_bins_of_their_own_and_are_padded_with_zeros(clock: Clock) -> None:
    manifest = tiny.tiny_manifest()
    features = list(manifest.baseline.features)
    features[1] = FeatureBaseline(name="wide", edges=(-2.0, -1.0, 0.0, 1.0, 2.0), counts=(1,) * 6)
    features[2] = FeatureBaseline(name="constant", edges=(), counts=(10,))
    baseline = manifest.baseline.model_copy(update={"features": tuple(features)})
    served = _served(manifest.model_copy(update={"baseline": baseline}))
    monitor, x = Monitor(clock), np.full((5, tiny.FEATURES), 9.0, dtype=np.float32)
    _observe(monitor, served, x)
    expected = [[0, 0, 0, 5, 0, 0], [0, 0, 0, 0, 0, 5], [5, 0, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0]]
    assert _counts(_take(monitor, clock).features).tolist() == expected


def test_a_model_that_does_not_fit_its_baseline_is_still_counted(clock: Clock, served: ServedModel) -> None:
    manifest = served.manifest
    baseline = manifest.baseline.model_copy(update={"features": manifest.baseline.features[:3]})
    misfit = replace(served, manifest=manifest.model_copy(update={"baseline": baseline}))
    monitor = Monitor(clock)
    _observe(monitor, misfit, _data(2))
    window = _take(monitor, clock)
    assert (window.requests, window.samples, sum(window.latency), sum(window.predictions)) == (1, 0, 1, 0)


def test_a_model_without_labels_has_no_predictions(clock: Clock, served: ServedModel) -> None:
    baseline = served.manifest.baseline.model_copy(update={"predictions": ()})
    regression = replace(served, manifest=served.manifest.model_copy(update={"baseline": baseline}))
    monitor = Monitor(clock)
    _observe(monitor, regression, _data(2))
    window = _take(monitor, clock)
    assert (window.samples, window.predictions, sum(window.confidence)) == (2, (), 0)


def test_edges_that_collide_as_float32_stop_watching_but_not_serving(
    clock: Clock, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    feature = FeatureBaseline(name="close", edges=(1.0, 1.0 + 1e-12), counts=(1, 1, 1))
    baseline = served.manifest.baseline.model_copy(update={"features": (feature,) * tiny.FEATURES})
    broken = replace(served, manifest=served.manifest.model_copy(update={"baseline": baseline}))
    monitor = Monitor(clock)
    for _ in range(3):
        _observe(monitor, broken, _data(1))
    monitor.observe_error(broken)
    assert monitor.take_windows(clock.advance(100), CONFIG) == []
    assert [record.message for record in caplog.records if "served but not watched" in record.message] == [
        caplog.records[0].message
    ]


def test_threads_lose_no_request(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: _observe(monitor, served, _data(n % 3 + 1, n)), range(900)))
    window = _take(monitor, clock)
    assert (window.requests, window.samples) == (900, 1800)
    assert _counts(window.features).sum() == 1800 * tiny.FEATURES


def test_memory_does_not_grow_with_the_number_of_requests(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    sizes = set()
    for n in range(3 * BUFFER_ANSWERS + 1):
        _observe(monitor, served, _data(1, n))
        [(sketch, _)] = monitor._windows.values()
        assert len(sketch.answers._latencies_ms) < BUFFER_ANSWERS
        assert len(sketch.answers._scores) < BUFFER_ANSWERS * tiny.LABELS * 4
        sizes.add(sketch.features.nbytes)
    assert len(sizes) == 1


def test_a_window_becomes_a_message_of_the_contract(clock: Clock, served: ServedModel) -> None:
    monitor = Monitor(clock)
    _observe(monitor, served, _data(4))
    message = _take(monitor, clock).to_message(OutboxPosition(stream="0" * 16, sequence=5, oldest=1))
    assert Window.model_validate_json(message.to_bytes()) == message
    assert (message.model, message.samples, message.outbox.sequence) == ("tiny", 4, 5)


def test_a_sketch_too_large_for_a_message_is_sent_empty(
    clock: Clock, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    edges = tuple(float(edge) for edge in range(1000))
    many = 256
    features = tuple(FeatureBaseline(name=f"f{n}", edges=edges, counts=(1,) * 1001) for n in range(many))
    baseline = served.manifest.baseline.model_copy(update={"features": features})
    wide = replace(served, manifest=served.manifest.model_copy(update={"baseline": baseline}))
    monitor = Monitor(clock)
    x = np.random.default_rng(0).uniform(0, 1000, size=(1500, many)).astype(np.float32)
    monitor.observe(wide, {"x": x}, {"probabilities": tiny.probabilities(_data(1500))}, 1.0, "a-1")
    window = _take(monitor, clock)
    assert (window.samples, _counts(window.features).sum(), sum(window.predictions)) == (1500, 0, 1500)
    assert "sent empty" in caplog.text
    assert window.left_out is not None
    assert "at most 65536 fit" in window.left_out["features"]


def test_several_inputs_are_flattened_in_the_manifests_order(clock: Clock) -> None:
    manifest = tiny.tiny_manifest()
    features = tuple(FeatureBaseline(name=f"f{n}", edges=(0.0,), counts=(1, 1)) for n in range(3))
    changes: dict[str, object] = {
        "inputs": tiny.PAIR_INPUTS,
        "outputs": tiny.PAIR_OUTPUTS,
        "baseline": manifest.baseline.model_copy(update={"features": features}),
    }
    served = _served(tiny.tiny_manifest())
    pair = replace(served, manifest=manifest.model_copy(update=changes))
    monitor = Monitor(clock)
    inputs = {"factor": np.array([[5], [5]], dtype=np.int32), "values": np.array([[-1, 1], [-1, 1]], dtype=np.float32)}
    monitor.observe(pair, inputs, {"scaled": np.zeros((2, 2), "f4"), "negated": np.zeros((2, 1), "i4")}, 1.0, "a-1")
    assert _counts(_take(monitor, clock).features).tolist() == [[2, 0], [0, 2], [0, 2]]


def test_windows_tell_of_evidence_and_the_device_says_by_itself_what_has_drifted(
    served: ServedModel, clock: Clock
) -> None:
    monitor = Monitor(clock)
    baseline = served.manifest.baseline
    rows = np.random.default_rng(1).normal(size=(60, 100, tiny.FEATURES)).astype(np.float32) + 5
    for window in rows:
        _observe(monitor, served, window)
        [finished] = monitor.take_windows(clock.advance(2), NOW_ALL)
    assert finished.evidence is not None
    assert (finished.evidence.windows, len(finished.evidence.features)) == (60, len(baseline.features))
    assert monitor.drifted_features() == {(served.name, served.version): len(baseline.features)}
