"""Batch inference: what the API says of it, and its routes as methods."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shoal_client.fleet import Value
from shoal_client.transport import Transport


class Inference(Value):
    """A batch inference; `text` is its file, `model` is `name@version`, `source` and `sink` are their kinds."""

    name: str
    text: str
    model: str
    source: str
    sink: str
    schedule: dict[str, Any] | None
    is_enabled: bool
    set_by: str
    set_at: datetime


class InferenceRun(Value):
    """A run; `state`, `progress` and `error` are its job's, `result` tells rows and parts once it has ended well."""

    id: str
    name: str
    model: str
    version: int
    state: str
    progress: str
    error: str
    result: dict[str, Any] | None
    reason: str
    job_id: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class BatchInference:
    """Models of the hub that answer the rows of a source, in jobs of the hub."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Inference]:
        """List batch inferences by name."""
        return self._transport.call("GET", "/batch-inference", list[Inference])

    def set(self, name: str, text: str) -> Inference:
        """Set one by its file, in place of an earlier one of its name."""
        return self._transport.call("PUT", f"/batch-inference/{name}", Inference, json={"text": text})

    def show(self, name: str) -> Inference:
        """Return one."""
        return self._transport.call("GET", f"/batch-inference/{name}", Inference)

    def remove(self, name: str) -> Inference:
        """Forget one; its runs stay, and what they have written."""
        return self._transport.call("DELETE", f"/batch-inference/{name}", Inference)

    def switch(self, name: str, *, on: bool) -> Inference:
        """Have the schedule of one begin runs, or no more."""
        return self._transport.call("PUT", f"/batch-inference/{name}/schedule", Inference, json={"is_enabled": on})

    def runs(self, name: str, *, limit: int = 100) -> Sequence[InferenceRun]:
        """List the runs of one, the newest first."""
        return self._transport.call("GET", f"/batch-inference/{name}/runs", list[InferenceRun], params={"limit": limit})

    def begin(self, name: str) -> InferenceRun:
        """Begin a run now."""
        return self._transport.call("POST", f"/batch-inference/{name}/runs", InferenceRun)

    def run(self, name: str, run_id: str) -> InferenceRun:
        """Return a run."""
        return self._transport.call("GET", f"/batch-inference/{name}/runs/{run_id}", InferenceRun)

    def cancel(self, name: str, run_id: str) -> InferenceRun:
        """End a run; what it has written stays, and it can be gone on with."""
        return self._transport.call("POST", f"/batch-inference/{name}/runs/{run_id}/cancel", InferenceRun)

    def resume(self, name: str, run_id: str) -> InferenceRun:
        """Go on with a run that has failed or was cancelled; parts that are written are not answered again."""
        return self._transport.call("POST", f"/batch-inference/{name}/runs/{run_id}/resume", InferenceRun)
