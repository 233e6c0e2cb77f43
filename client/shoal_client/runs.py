"""Runs of trainings: what the API says of them, and its routes as methods. MLflow's own client logs them."""

from typing import Any

from shoal_client.fleet import Value
from shoal_client.transport import Transport


class Run(Value):
    """A run in a list; times are milliseconds since 1970. A metric that is NaN or infinite last has no number here."""

    id: str
    name: str
    experiment: str
    experiment_name: str
    status: str
    user_name: str
    started_ms: int
    ended_ms: int | None
    metrics: dict[str, float | None]
    params: dict[str, str]


class RunDetail(Run):
    """One run with its tags and the data that it was given."""

    tags: dict[str, str]
    datasets: list[str]
    artifact_uri: str


class MetricPoint(Value):
    """One value of a metric; None where it is NaN or infinite."""

    step: int
    at_ms: int
    value: float | None


class Runs:
    """Runs that clients of MLflow's API have logged."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self, run_id: str) -> RunDetail:
        """Return a run."""
        return self._transport.call("GET", f"/runs/{run_id}", RunDetail)

    def metric(self, run_id: str, key: str) -> list[MetricPoint]:
        """Return the values of a metric in the order of steps."""
        return self._transport.call("GET", f"/runs/{run_id}/metrics", list[MetricPoint], params={"key": key})

    def list(self, *, experiment: str = "", where: str = "", order_by: str = "", limit: int = 100) -> list[Run]:
        """List runs, those that began last first.

        Args:
            experiment: The name of theirs; all without.
            where: A filter in MLflow's words, like `metrics.acc > 0.9 and params.depth = '3'`.
            order_by: What they are ordered by instead, like `metrics.acc DESC`.
            limit: At most so many.
        """
        params: dict[str, Any] = {"experiment": experiment, "filter": where, "limit": limit}
        if order_by:
            params["order_by"] = order_by
        return self._transport.call("GET", "/runs", list[Run], params=params)
