"""What became of the requests of each served version, and how long its parts took.

Source: the statistics extension of the Open Inference Protocol v2.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from shoal_agent.endpoint import Request, Response, Route, json_response
from shoal_agent.serving.models import ModelServer, ServedModel
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.workers import Load
from shoal_contract.telemetry import LATENCY_EDGES_MS

LATENCY_EDGES_S: Final = tuple(edge / 1000 for edge in LATENCY_EDGES_MS)
"""Upper edges of the bins of `VersionStatistics.latency`, seconds; the last bin has none."""
Refusal = Literal["overloaded", "timeout", "hot", "memory"]
_DURATIONS: Final = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
)  # fmt: skip


@dataclass
class Duration:
    """How often something happened, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.ns += int(seconds * 1e9)

    def merge(self, other: "Duration") -> None:
        """Take in what another one has counted."""
        self.count += other.count
        self.ns += other.ns

    def shown(self) -> dict[str, int]:
        """Return the protocol's form."""
        return {"count": self.count, "ns": self.ns}


@dataclass
class VersionStatistics:
    """The sums of one served version, since it is served. Written by worker threads: a count may be off by a few."""

    samples: int = 0
    executions: int = 0
    last_ms: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_EDGES_S) + 1))
    """Answered requests by how long they took, over `LATENCY_EDGES_S`; a time at an edge is below it."""

    def note_failure(self, took_s: float) -> None:
        """Count a request that got an error."""
        self.fail.add(took_s)

    def note_answer(self, samples: int, at_s: tuple[float, float, float, float, float]) -> None:
        """Count a request that was answered.

        Args:
            samples: In the request.
            at_s: When it came, and when its decoding, inference, encoding and all of it began or ended.
        """
        came, begun, decoded, inferred, encoded = at_s
        self.samples += samples
        self.executions += 1
        self.last_ms = int(time.time() * 1000)
        self.success.add(encoded - came)
        self.latency[bisect_left(LATENCY_EDGES_S, encoded - came)] += 1
        self.queue.add(begun - came)
        self.compute_input.add(decoded - begun)
        self.compute_infer.add(inferred - decoded)
        self.compute_output.add(encoded - inferred)

    def merge(self, other: "VersionStatistics") -> None:
        """Take in what another one has counted."""
        self.samples += other.samples
        self.executions += other.executions
        self.last_ms = max(self.last_ms, other.last_ms)
        self.latency = [mine + more for mine, more in zip(self.latency, other.latency, strict=True)]
        for name in _DURATIONS:
            getattr(self, name).merge(getattr(other, name))

    def shown(self, name: str, version: str) -> dict[str, Any]:
        """Return the protocol's form."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.samples,
            "execution_count": self.executions,
            "inference_stats": {name: getattr(self, name).shown() for name in _DURATIONS},
            "batch_stats": [],
        }


class Statistics:
    """The statistics of what is served now, and what was not worked on at all.

    Attributes:
        refused: Requests that got no worker, or no answer in time, by model and reason.
        load: Gives what runs and what waits; called in the event loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: WeakKeyDictionary[ServedModel, VersionStatistics] = WeakKeyDictionary()
        self.refused: Counter[tuple[str, Refusal]] = Counter()
        self.load: Callable[[], Load] = Load

    def of(self, served: ServedModel) -> VersionStatistics:
        """Return the statistics of a served version."""
        found = self._versions.get(served)
        if found is not None:
            return found
        with self._lock:  # `all` goes through them meanwhile
            return self._versions.setdefault(served, VersionStatistics())

    def all(self) -> dict[tuple[str, int], VersionStatistics]:
        """Return the statistics by model and version, a trial's candidate among them.

        A version that is loaded twice, as while one gives way to the other, is counted as one.
        """
        with self._lock:
            known = [(served.name, served.version, counted) for served, counted in self._versions.items()]
        merged: dict[tuple[str, int], VersionStatistics] = {}
        for name, version, counted in sorted(known, key=lambda one: one[:2]):
            merged.setdefault((name, version), VersionStatistics()).merge(counted)
        return merged

    def note_refused(self, model: str, reason: Refusal) -> None:
        """Count a request that was not worked on, or not in time; called in the event loop."""
        self.refused[model, reason] += 1


def statistics_routes(server: ModelServer, statistics: Statistics) -> list[Route]:
    """Return the routes that show statistics: of a version, of a model, of all, with what rests on the disk."""

    def shown(served: ServedModel) -> dict[str, Any]:
        return statistics.of(served).shown(served.name, str(served.version))

    def one(request: Request) -> Response:
        name = request.params["name"]
        served = resolve(server, server.get(name), name, request.params.get("version"))
        return json_response({"model_stats": [shown(served)]})

    def every(_: Request) -> Response:
        served = [found for name in server.names() if (found := server.get(name)) is not None]
        absent = [
            VersionStatistics().shown(name, one.version) | {"state": "unloaded", "reason": str(one.why)}
            for name, one in server.absent().items()
            if one.manifest_sha256
        ]
        return json_response({"model_stats": [*map(shown, served), *absent]})

    return [
        Route("/v2/models/stats", {"GET": every}),
        Route("/v2/models/{name}/stats", {"GET": one}),
        Route("/v2/models/{name}/versions/{version}/stats", {"GET": one}),
    ]
