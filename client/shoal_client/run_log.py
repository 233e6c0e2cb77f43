"""Records a run in the hub's tracking, by the calls that MLflow's client makes too."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from shoal_client.errors import ApiError
from shoal_client.transport import Transport

_CALLS: Final = "/api/2.0/mlflow"
_FILES: Final = "/api/2.0/mlflow-artifacts/artifacts"
_PROXIED: Final = "mlflow-artifacts:/"
_NOT_FOUND: Final = 404


class RunLog:
    """A run that is begun, told of, and ended.

    Args:
        transport: To the hub.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.id = ""
        self._files = ""

    def begin(self, experiment: str, name: str, started_ms: int, tags: Mapping[str, str]) -> None:
        """Begin a run of an experiment, which is made where there is none; times are milliseconds since 1970.

        Raises:
            ApiError: The hub refused.
            HubUnreachableError: No hub answered in time.
        """
        body = {
            "experiment_id": self._experiment(experiment),
            "run_name": name,
            "start_time": started_ms,
            "tags": _pairs(tags),
        }
        info = self._post("/runs/create", body)["run"]["info"]
        self.id, self._files = info["run_id"], str(info["artifact_uri"])

    def params(self, params: Mapping[str, str]) -> None:
        """Say parameters; raises as `begin`."""
        self._post("/runs/log-batch", {"run_id": self.id, "params": _pairs(params)})

    def data(self, name: str, digest: str) -> None:
        """Say what data it learns from; raises as `begin`."""
        dataset = {"name": name, "digest": digest[:36], "source_type": "shoal", "source": digest}
        tag = {"key": "mlflow.data.context", "value": "training"}
        self._post("/runs/log-inputs", {"run_id": self.id, "datasets": [{"dataset": dataset, "tags": [tag]}]})

    def metrics(self, points: Iterable[tuple[str, float, int, int]]) -> None:
        """Keep values by name, with step and time, in milliseconds since 1970; raises as `begin`."""
        keys = ("key", "value", "step", "timestamp")
        metrics = [dict(zip(keys, (name, _number(value), step, at), strict=True)) for name, value, step, at in points]
        self._post("/runs/log-batch", {"run_id": self.id, "metrics": metrics})

    def file(self, name: str, path: Path) -> None:
        """Keep a file of the run; where files of its experiment go elsewhere, none is kept; raises as `begin`."""
        if not self._files.startswith(_PROXIED):
            return
        folder = self._files.removeprefix(_PROXIED).lstrip("/")
        with path.open("rb") as file:
            self._transport.fetch("PUT", self._url(f"{_FILES}/{quote(f'{folder}/{name}')}"), content=file)

    def end(self, status: str, ended_ms: int, tags: Mapping[str, str]) -> None:
        """Say how it ended, in MLflow's words; raises as `begin`."""
        self._post("/runs/log-batch", {"run_id": self.id, "tags": _pairs(tags)})
        self._post("/runs/update", {"run_id": self.id, "status": status, "end_time": ended_ms})

    def _experiment(self, name: str) -> str:
        path = self._url(f"{_CALLS}/experiments/get-by-name")
        try:
            found = self._transport.call("GET", path, dict[str, Any], params={"experiment_name": name})
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return str(self._post("/experiments/create", {"name": name})["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._transport.call("POST", self._url(_CALLS + path), dict[str, Any], json=body)

    def _url(self, path: str) -> str:
        return self._transport.url + path


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _number(value: float) -> float | str:
    """Return a number as JSON can have it, in protobuf's words."""
    if value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    return "NaN" if value != value else value  # noqa: PLR0124 - only NaN differs from itself
