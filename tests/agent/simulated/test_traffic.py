"""The requests of a simulated device: like the training data, counted by the agent's monitor, errors as planned."""

import base64
from datetime import datetime, timedelta, timezone

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.serving.conftest import served_tiny
from tests.fixtures import tiny

from shoal_agent.monitor import Monitor
from shoal_agent.serving import ModelServer
from shoal_agent.simulated.traffic import Sampler, Traffic, TrafficPlan
from shoal_contract.desired import DesiredConfig
from shoal_contract.manifest import FeatureBaseline, VersionManifest
from shoal_contract.telemetry import OutboxPosition, Window
from shoal_numerics import Histogram, HistogramEdges, unpack_counts

ANY_AGE = DesiredConfig(window_requests=1_000_000, window_s=1)
LATER = timedelta(minutes=5)
WAIT_S = 30.0


def manifest_of(*features: FeatureBaseline) -> VersionManifest:
    """The tiny model's, with other histograms for the first of its features."""
    manifest = tiny.tiny_manifest()
    others = manifest.baseline.features[len(features) :]
    baseline = manifest.baseline.model_copy(update={"features": (*features, *others)})
    return manifest.model_copy(update={"baseline": baseline})


@st.composite
def histograms(draw: st.DrawFn) -> FeatureBaseline:
    edges = sorted(draw(st.sets(st.integers(-1000, 1000), max_size=12)))
    size = len(edges) + 1
    counts = draw(st.lists(st.integers(0, 50), min_size=size, max_size=size))
    return FeatureBaseline(name="x", edges=tuple(map(float, edges)), counts=tuple(counts))


@given(histograms(), st.integers(0, 2**32))
def test_a_value_falls_into_a_bin_that_the_training_data_filled(feature: FeatureBaseline, seed: int) -> None:
    sampler, chance = Sampler(manifest_of(feature)), np.random.default_rng(seed)
    drawn = np.array([sampler.draw(chance)["x"][0, :1] for _ in range(20)])
    counts = Histogram.of(HistogramEdges.from_lists([feature.edges]), drawn).counts
    assert counts.sum() == 20
    if any(feature.counts):
        assert all(filled for filled, count in zip(feature.counts, counts, strict=True) if count)


def test_bins_are_as_frequent_as_in_the_training_data() -> None:
    feature = FeatureBaseline(name="x", edges=(0.0, 1.0), counts=(10, 60, 30))
    sampler, chance = Sampler(manifest_of(feature)), np.random.default_rng(1)
    drawn = np.array([sampler.draw(chance)["x"][0, :1] for _ in range(4000)])
    counts = Histogram.of(HistogramEdges.from_lists([feature.edges]), drawn).counts
    np.testing.assert_allclose(counts / 4000, [0.1, 0.6, 0.3], atol=0.03)


def test_devices_differ_in_their_error_rates_and_a_version_adds_its_harm_to_all() -> None:
    plan = TrafficPlan(1.0, error_rate=0.05, device_sd=0.5, harms={4: 0.05})
    fleet = [Traffic(plan, 7, index, {}) for index in range(400)]
    rates = np.array([one.error_rate(3) for one in fleet])
    logits = np.log(rates / (1 - rates))
    assert np.std(logits) == pytest.approx(0.5, abs=0.06)
    assert np.median(rates) == pytest.approx(0.05, abs=0.006)
    assert all(one.error_rate(4) > one.error_rate(3) for one in fleet)
    again = [Traffic(plan, 7, index, {}).error_rate(3) for index in range(400)]
    assert again == rates.tolist(), "the same seed, the same devices"
    assert Traffic(TrafficPlan(1.0, 0.05, 0.0, {4: 0.02}), 7, 3, {}).error_rate(4) == pytest.approx(0.07)


@pytest.mark.anyio
async def test_what_a_device_serves_is_asked_and_the_monitor_counts_the_answers() -> None:
    now = datetime(2026, 11, 28, tzinfo=timezone.utc)
    monitor, server = Monitor(lambda: now), ModelServer()
    await server.swap("tiny", served_tiny())
    traffic = Traffic(TrafficPlan(200.0, error_rate=0.25, device_sd=0.0), 0, 0, {})
    windows: list[Window] = []

    def take() -> int:
        finished = monitor.take_windows(now + LATER, ANY_AGE)
        windows.extend(one.to_message(OutboxPosition(stream="0" * 16, sequence=1, oldest=1)) for one in finished)
        return sum(one.requests for one in windows)

    async with anyio.create_task_group() as group:
        group.start_soon(traffic.run, server, monitor)
        with anyio.fail_after(WAIT_S):
            asked = 0
            while asked < 400:
                await anyio.sleep(0.05)
                asked = take()
        group.cancel_scope.cancel()
    take()  # the rest of the second that was being asked: its errors were counted first
    requests, errors = sum(one.requests for one in windows), sum(one.errors for one in windows)
    assert errors / requests == pytest.approx(0.25, abs=0.08)
    assert sum(one.samples for one in windows) == requests - errors
    first = windows[0]
    seen = unpack_counts(base64.b64decode(first.features.data), first.features.rows * first.features.bins)
    assert seen.sum() == first.samples * tiny.FEATURES
    await server.aclose()


@pytest.mark.parametrize(
    "wrong", [{"error_rate": 0.0}, {"harms": {3: 0.99}}, {"requests_per_s": -1.0}, {"device_sd": -0.1}]
)
def test_rates_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected|may be below 0"):
        TrafficPlan(**wrong)  # type: ignore[arg-type]


def test_inputs_that_are_not_watched_are_those_of_the_golden_input() -> None:
    drawn = Sampler(tiny.stream_manifest()).draw(np.random.default_rng(0))
    assert {name: array.shape for name, array in drawn.items()} == {"sound": (1, 1), "state": (2, 1, 3), "rate": ()}
    assert int(drawn["rate"]) == 3
