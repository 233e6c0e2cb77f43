"""Compression: what the API says of runs of recipes, and its routes as methods."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal_client.errors import JobFailedError
from shoal_client.fleet import Value
from shoal_client.transport import Transport

_LOOK_S = 0.5
OPEN = frozenset({"making", "measuring", "choosing"})


class CompressionRecipe(Value):
    """A recipe that comes with Shoal."""

    name: str
    description: str
    steps: list[str]
    sha256: str


class CompressionRun(Value):
    """A run; `chosen` names the chosen recipe of each target, or `source`."""

    id: str
    kind: str
    model: str
    version: int
    state: str
    progress: str
    recipes: list[str]
    chosen: dict[str, str]
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class CompressionFile(Value):
    """A file that a run made, with figures of the hub's machine; `was_found` says that it had been made before."""

    name: str
    recipe_sha256: str
    sha256: str
    size_bytes: int
    runtime: str
    precision: str
    accuracy: float | None
    drop_points: float | None
    agreement: float
    latency_p50_ms: float | None
    was_found: bool


class MeasuringDevice(Value):
    """A device that was asked to measure; `result` is what it has told."""

    device_id: str
    hardware: str
    outcome: str
    deadline_at: datetime
    ended_at: datetime | None
    problem: dict[str, Any] | None
    result: dict[str, Any] | None


class Figures(Value):
    """Of a candidate, by the worst board of its class."""

    size_bytes: int
    latency_p50_ms: float | None = None
    memory_bytes: int | None = None
    accuracy: float | None = None
    agreement: float | None = None


class Candidate(Value):
    """What could be chosen."""

    name: str
    measures: Figures
    drop_points: float | None = None


class PredictedLatency(Value):
    """Of a candidate on the slowest board of a class; `low_ms` and `high_ms` are by the worst error of the board."""

    latency_ms: float
    low_ms: float
    high_ms: float
    board: str
    unknown: tuple[str, ...] = ()
    """Kinds of operators of which too few, or far smaller ones, were profiled there."""


class PredictionError(Value):
    """Of files that were left out in turn, as a share of what their devices measured."""

    median: float
    worst: float
    files: int
    ratios: tuple[float, float]
    """The least and the largest of predicted to measured."""


class CompressionChoice(Value):
    """What was chosen for a target class, and among what.

    `basis` is `devices` where these have measured; else `predicted`: latency is, by what other files took on devices of
    the class; or `here`: all figures are the hub's machine's.
    """

    target_class: str
    target: str | None
    chosen: str | None
    basis: str
    devices: dict[str, int]
    candidates: list[Candidate]
    front: list[str]
    left_out: dict[str, str]
    reason: str
    assumed: dict[str, float] = Field(default_factory=dict)
    """Points lost at the hub of candidates of which a device could not tell: what the choice holds them to."""
    predicted: dict[str, PredictedLatency] = Field(default_factory=dict)
    """By candidate."""
    errors: dict[str, PredictionError] = Field(default_factory=dict)
    """Of what is predicted, by board."""


class CompressionDetail(CompressionRun):
    """A run with its files, what devices have measured, and what was chosen."""

    request: dict[str, Any]
    results: list[CompressionFile]
    refused: dict[str, str]
    devices: list[MeasuringDevice]
    choices: list[CompressionChoice]


class Compression:
    """Runs of recipes and searches over them, measured on devices."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def recipes(self) -> list[CompressionRecipe]:
        """List the recipes that come with Shoal."""
        return self._transport.call("GET", "/compression/recipes", list[CompressionRecipe])

    def start(
        self,
        model: str,
        version: str = "latest",
        *,
        kind: Literal["run", "search"] = "run",
        recipes: Sequence[str | Mapping[str, Any]] = (),
        **settings: Any,  # noqa: ANN401 - the API has checked them
    ) -> CompressionRun:
        """Start a run of recipes, or a search.

        Args:
            model: The model.
            version: Number, `latest`, stage or alias of a float version.
            kind: `run`, or `search`.
            recipes: Names of built-in ones, or recipes themselves, as text of YAML or JSON too.
            settings: What of `targets`, `max_latency_ms`, `max_drop`, `max_size_bytes`, `max_memory_bytes`, `prefer`,
                `devices_per_class`, `patience_s`, `max_load`, `samples` and `budget_minutes` is not to be the default.
        """
        body = {"model": model, "version": version, "kind": kind, "recipes": [*recipes], **settings}
        return self._transport.call("POST", "/compression/runs", CompressionRun, json=body)

    def list(self, *, limit: int = 100) -> list[CompressionRun]:
        """List runs, the newest first."""
        return self._transport.call("GET", "/compression/runs", list[CompressionRun], params={"limit": limit})

    def show(self, run_id: str) -> CompressionDetail:
        """Return a run with all that is known of it."""
        return self._transport.call("GET", f"/compression/runs/{run_id}", CompressionDetail)

    def cancel(self, run_id: str) -> CompressionRun:
        """Cancel a run: nothing of it is registered."""
        return self._transport.call("POST", f"/compression/runs/{run_id}/cancel", CompressionRun)

    def report(self, run_id: str, name: str) -> dict[str, Any]:
        """Return the report of one file: lineage, verdict by slice and layer, figures."""
        return self._transport.call("GET", f"/compression/runs/{run_id}/results/{name}", dict[str, Any])

    def page(self, run_id: str, name: str) -> bytes:
        """Return the report of one file as HTML."""
        return self._transport.fetch("GET", f"/compression/runs/{run_id}/results/{name}/page")

    def picture(self, run_id: str) -> bytes:
        """Return the fronts of a run as SVG."""
        return self._transport.fetch("GET", f"/compression/runs/{run_id}/picture")

    def wait(self, run_id: str, progress: Callable[[CompressionRun], None] | None = None) -> CompressionDetail:
        """Wait until a run has succeeded, and return it.

        Args:
            run_id: The run.
            progress: Told whenever it has come further.

        Raises:
            JobFailedError: It failed, or was cancelled.
        """
        last: CompressionDetail | None = None
        while True:
            run = self.show(run_id)
            if progress is not None and run != last:
                progress(run)
            if run.state not in OPEN:
                break
            last = run
            time.sleep(_LOOK_S)
        if run.state != "succeeded":
            raise JobFailedError(
                f"the compression run {run_id} {run.state}: {run.reason}", f"look: shoal compress show {run_id}"
            )
        return run
