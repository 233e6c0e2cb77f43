"""Watches every served model: takes each answered request, gives out finished windows."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from shoal_agent.engines import Array
from shoal_agent.monitor.rows import rows_of, scores_of
from shoal_agent.monitor.sketch import BaselineEdges, WindowSketch
from shoal_agent.monitor.window import FinishedWindow
from shoal_agent.serving.models import ServedModel
from shoal_contract.desired import DesiredConfig
from shoal_numerics import HistogramError

log = logging.getLogger(__name__)

_Key = tuple[str, int, str]
"""Model, version and hash of the manifest."""
_VERSIONS = 2
"""Versions of one model whose edges are kept: a trial has two of them answer in turn."""


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
        self._edges: dict[_Key, BaselineEdges | None] = {}

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
        rows = rows_of(served, inputs)
        scores = scores_of(served, outputs, len(rows))
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
        """Return the edges of the version's baseline, None where they are unusable; kept for the latest few."""
        if key in self._edges:
            return self._edges[key]
        edges: BaselineEdges | None = None
        try:
            edges = BaselineEdges.of(served.manifest.baseline)
        except HistogramError as error:
            log.warning("model %s version %d is served but not watched: %s", served.name, served.version, error)
        mine = [one for one in self._edges if one[0] == served.name]
        for former in mine[: len(mine) + 1 - _VERSIONS]:
            del self._edges[former]
        self._edges[key] = edges
        return edges


def _is_finished(sketch: WindowSketch, now: datetime, config: DesiredConfig) -> bool:
    is_full = sketch.answers + sketch.errors >= config.window_requests
    return is_full or (now - sketch.started_at).total_seconds() >= config.window_s
