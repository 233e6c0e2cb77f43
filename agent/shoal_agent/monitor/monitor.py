"""Watches every served model: takes each answered request, gives out finished windows."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from shoal_agent.engines import Array
from shoal_agent.monitor.sketch import BaselineEdges, WindowSketch
from shoal_agent.monitor.window import FinishedWindow
from shoal_agent.serving.models import ServedModel
from shoal_contract.desired import DesiredConfig
from shoal_numerics import HistogramError

log = logging.getLogger(__name__)

_Key = tuple[str, int, str]
"""Model, version and hash of the manifest."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Monitor:
    """One sketch for each version that answers requests; safe for use by several threads.

    A window begins with its first request and ends when `take_windows` finds it full or old enough, so an idle
    model sends nothing. What a client sent wrong is counted as an error and never sketched.

    Args:
        clock: Gives the time at which a window begins, aware UTC.
    """

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sketches: dict[_Key, WindowSketch] = {}
        self._edges: dict[str, tuple[_Key, BaselineEdges | None]] = {}

    def observe(
        self, served: ServedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array], latency_ms: float
    ) -> None:
        """Count one answered request.

        Args:
            served: What answered.
            inputs: The request's arrays by name; flattened sample by sample in the manifest's order of inputs.
            outputs: The answer's arrays by name; the first of the manifest's gives label and confidence.
            latency_ms: From the request's last byte to its answer.
        """
        rows = _rows(served, inputs)
        scores = _scores(served, outputs, len(rows))
        labels, confidence = scores.argmax(axis=1), scores.max(axis=1)
        with self._lock:
            sketch = self._sketch(served)
            if sketch is not None:
                sketch.add(rows, labels, confidence, latency_ms)

    def observe_error(self, served: ServedModel) -> None:
        """Count one request that got an error instead of an answer."""
        with self._lock:
            sketch = self._sketch(served)
            if sketch is not None:
                sketch.errors += 1

    def take_windows(self, now: datetime, config: DesiredConfig) -> list[FinishedWindow]:
        """Return the windows that are full (`window_requests`) or old enough (`window_s`), and forget them.

        Packing is done in the calling thread, outside the lock; off the event loop where features are many.
        """
        with self._lock:
            finished = [key for key, sketch in self._sketches.items() if _is_finished(sketch, now, config)]
            taken = [(key, self._sketches.pop(key)) for key in finished]
        return [sketch.finish(*key, ended_at=now) for key, sketch in taken]

    def _sketch(self, served: ServedModel) -> WindowSketch | None:
        key = (served.name, served.version, served.manifest_sha256)
        sketch = self._sketches.get(key)
        if sketch is None:
            edges = self._edges_of(key, served)
            if edges is None:
                return None
            sketch = self._sketches[key] = WindowSketch(edges, self._clock())
        return sketch

    def _edges_of(self, key: _Key, served: ServedModel) -> BaselineEdges | None:
        """Return the edges of the version's baseline, None where they are unusable; kept for one version a model."""
        known = self._edges.get(served.name)
        if known is not None and known[0] == key:
            return known[1]
        edges: BaselineEdges | None = None
        try:
            edges = BaselineEdges.of(served.manifest.baseline)
        except HistogramError as error:
            log.warning("model %s version %d is served but not watched: %s", served.name, served.version, error)
        self._edges[served.name] = (key, edges)
        return edges


def _is_finished(sketch: WindowSketch, now: datetime, config: DesiredConfig) -> bool:
    is_full = sketch.answers + sketch.errors >= config.window_requests
    return is_full or (now - sketch.started_at).total_seconds() >= config.window_s


def _rows(served: ServedModel, inputs: Mapping[str, Array]) -> NDArray[np.float32]:
    """Return the inputs as (n, features) float32; no rows where they are not n times the baseline's features."""
    arrays = [inputs[spec.name] for spec in served.manifest.inputs]
    features = len(served.manifest.baseline.features)
    samples, rest = divmod(sum(array.size for array in arrays), features)
    if rest or samples == 0 or any(array.size % samples for array in arrays):
        return np.empty((0, features), dtype=np.float32)
    with np.errstate(over="ignore"):
        flat = [array.reshape(samples, -1).astype(np.float32, copy=False) for array in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


def _scores(served: ServedModel, outputs: Mapping[str, Array], samples: int) -> NDArray[np.float32]:
    """Return the first output as (n, classes) float32; no rows where the model gives no classes to choose from."""
    output = outputs[served.manifest.outputs[0].name]
    is_scored = samples > 0 and output.size > 0 and output.size % samples == 0
    if not is_scored or not served.manifest.baseline.predictions:
        return np.empty((0, 1), dtype=np.float32)
    with np.errstate(over="ignore"):
        scores: NDArray[np.float32] = output.reshape(samples, -1).astype(np.float32, copy=False)
    return scores
