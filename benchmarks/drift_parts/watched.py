"""A version with a baseline of 100 equal-mass bins a feature, and what is asked of it; the agent's own code watches."""

import itertools
import time
from datetime import datetime, timedelta, timezone

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray
from tests.fixtures import tiny

from shoal_agent.engines import load_engine
from shoal_agent.monitor import LabelSettings, Monitor
from shoal_agent.serving import ServedModel
from shoal_agent.signer import DeviceSigner
from shoal_contract.desired import DesiredConfig
from shoal_contract.manifest import Baseline, FeatureBaseline
from shoal_contract.telemetry import OutboxPosition, TelemetryMessage
from shoal_numerics import HistogramEdges

BINS, CLASSES, CONFIDENCE_BINS = 100, 10, 20
START = datetime(2025, 6, 1, tzinfo=timezone.utc)
EVERYTHING = DesiredConfig(window_requests=1_000_000, window_s=1)


def watched(reference: NDArray[np.float32]) -> ServedModel:
    """Return a version whose training data was `reference`, (n, features) float32."""
    scores = np.random.default_rng(9).random((len(reference), 1)).astype(np.float32)
    features = _baselines(HistogramEdges.equal_mass(reference, BINS))
    [confidence] = _baselines(HistogramEdges.equal_mass(scores, CONFIDENCE_BINS))
    baseline = Baseline(samples=len(reference), features=features, predictions=(1,) * CLASSES, confidence=confidence)
    variant = tiny.onnx_variant()
    engine = load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)
    manifest = tiny.tiny_manifest().model_copy(update={"baseline": baseline})
    return ServedModel("digits", 1, variant.target, manifest, "0123456789abcdef" * 4, engine)


class Device:
    """A monitor that requests of one sample go to.

    Args:
        rows: (n, features) float32, one a request.
        reference: What the version was trained on.
        answers: How many are remembered for their labels.
    """

    def __init__(self, rows: NDArray[np.float32], reference: NDArray[np.float32], answers: int) -> None:
        random = np.random.default_rng(8)
        self._served = watched(reference)
        self._monitor = Monitor(lambda: START, LabelSettings(max_answers=answers))
        self._inputs = [row[np.newaxis].copy() for row in rows]
        self._outputs = [random.random((1, CLASSES)).astype(np.float32) for _ in rows]
        self._turns = itertools.count()

    def request_us(self) -> float:
        """Return what all requests take of the processor, microseconds each, over what the loop around them does."""
        turn = next(self._turns)
        ids = [f"{turn}-{number}" for number in range(len(self._inputs))]
        latency_ms = [0.3 + 0.01 * (number % 400) for number in range(len(ids))]
        started_s = time.process_time()
        for x, y, answer_id, ms in zip(self._inputs, self._outputs, ids, latency_ms, strict=True):
            self._monitor.observe(self._served, {"x": x}, {"probabilities": y}, ms, answer_id)
        observed_s = time.process_time()
        for x, y, answer_id, ms in zip(self._inputs, self._outputs, ids, latency_ms, strict=True):
            _nothing(self._served, {"x": x}, {"probabilities": y}, ms, answer_id)
        return 1e6 * (2 * observed_s - started_s - time.process_time()) / len(ids)

    def report(self) -> tuple[bytes, bytes, float]:
        """End the window; return its message, that as it is sent alone, and the CPU microseconds that this took."""
        key = ec.generate_private_key(ec.SECP256R1())
        started_s = time.process_time()
        [window] = self._monitor.take_windows(START + timedelta(hours=1), EVERYTHING)
        took_us = 1e6 * (time.process_time() - started_s)
        place = OutboxPosition(stream="17a0b3c4d5e6f7a8", sequence=1234, oldest=1200)
        message = TelemetryMessage(body=window.to_message(place)).to_bytes()
        return message, DeviceSigner(key).seal_compact("telemetry", message), took_us


def _nothing(*_: object) -> None:
    """Stand in for the monitor in the loop that is subtracted."""


def _baselines(edges: HistogramEdges) -> tuple[FeatureBaseline, ...]:
    return tuple(
        FeatureBaseline(name=f"f{number}", edges=tuple(own), counts=(1,) * (len(own) + 1))
        for number, own in enumerate(edges.to_lists())
    )
