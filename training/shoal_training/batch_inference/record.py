"""What a run came to: `run.json` in its folder, rewritten as it goes on: a run that was killed is known too."""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field

from shoal_compression.values import Record
from shoal_training.batch_inference.manifest import ModelIdentity
from shoal_training.batch_inference.whole_file import write_whole

RUN_FILE: Final = "run.json"

State = Literal["running", "finished", "failed", "cancelled"]


class InferenceRun(Record):
    """A run."""

    id: str
    name: str
    """Of the batch inference."""
    definition_sha256: str
    text: str
    """The file as it was read."""
    state: State
    error: str = ""
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    model: ModelIdentity
    source: dict[str, Any] = Field(default_factory=dict)
    """What was read, with its fingerprint."""
    sink: dict[str, Any]
    engine: dict[str, Any]
    rows: int = 0
    """That were read."""
    parts: int = 0
    written_parts: int = 0
    written_rows: int = 0
    refused_rows: int = 0
    """That could not be read, or that the model could not take."""


def write_run(folder: Path, run: InferenceRun) -> None:
    """Replace the record in a run's folder."""
    write_whole(folder / RUN_FILE, run.model_dump_json(indent=2).encode() + b"\n")


def read_run(folder: Path) -> InferenceRun | None:
    """Return the record of a run's folder; None: it has none."""
    try:
        return InferenceRun.model_validate_json((folder / RUN_FILE).read_bytes())
    except FileNotFoundError:
        return None


def read_runs(root: Path) -> list[InferenceRun]:
    """Return the runs below a folder of results, the latest first."""
    found = [run for path in root.glob(f"*/*/{RUN_FILE}") if (run := read_run(path.parent)) is not None]
    return sorted(found, key=lambda one: one.started_at, reverse=True)
