"""What became of the requests of each served version, and how long its parts took.

Source: the statistics extension of the Open Inference Protocol v2.
"""

import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from shoal_agent.endpoint import Request, Response, Route, json_response
from shoal_agent.serving.models import ModelServer, ServedModel
from shoal_agent.serving.resolve import resolve


@dataclass
class Duration:
    """How often something happened, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.ns += int(seconds * 1e9)

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
        self.queue.add(begun - came)
        self.compute_input.add(decoded - begun)
        self.compute_infer.add(inferred - decoded)
        self.compute_output.add(encoded - inferred)

    def shown(self, served: ServedModel) -> dict[str, Any]:
        """Return the protocol's form."""
        names = (
            "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"
        )  # fmt: skip
        return {
            "name": served.name,
            "version": str(served.version),
            "last_inference": self.last_ms,
            "inference_count": self.samples,
            "execution_count": self.executions,
            "inference_stats": {name: getattr(self, name).shown() for name in names},
            "batch_stats": [],
        }


class Statistics:
    """The statistics of what is served now."""

    def __init__(self) -> None:
        self._versions: WeakKeyDictionary[ServedModel, VersionStatistics] = WeakKeyDictionary()

    def of(self, served: ServedModel) -> VersionStatistics:
        """Return the statistics of a served version."""
        found = self._versions.get(served)
        return found if found is not None else self._versions.setdefault(served, VersionStatistics())


def statistics_routes(server: ModelServer, statistics: Statistics) -> list[Route]:
    """Return the routes that show statistics: of a version, of a model, of all."""

    def one(request: Request) -> Response:
        name = request.params["name"]
        served = resolve(server, server.get(name), name, request.params.get("version"))
        return json_response({"model_stats": [statistics.of(served).shown(served)]})

    def every(_: Request) -> Response:
        served = [found for name in server.names() if (found := server.get(name)) is not None]
        return json_response({"model_stats": [statistics.of(found).shown(found) for found in served]})

    return [
        Route("/v2/models/stats", {"GET": every}),
        Route("/v2/models/{name}/stats", {"GET": one}),
        Route("/v2/models/{name}/versions/{version}/stats", {"GET": one}),
    ]
