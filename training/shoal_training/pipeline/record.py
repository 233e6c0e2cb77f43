"""What a run came to: `run.json` in its folder, rewritten after each step: a run that was killed is known too."""

import platform
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field

from shoal_compression.values import Record
from shoal_training.source_code import CodeRecord

RUN_FILE: Final = "run.json"

State = Literal["running", "finished", "failed"]


class StepRecord(Record):
    """One step of a run."""

    name: str
    key: str
    """Content hash of all that decides its result."""
    is_cached: bool
    """Whether an earlier run had done it."""
    took_s: float


class Environment(Record):
    """What a run was done with."""

    python: str
    platform: str
    packages: dict[str, str]
    """Versions of all that is installed."""

    @classmethod
    def here(cls) -> "Environment":
        """Describe this process."""
        packages = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
        return cls(python=sys.version.split()[0], platform=platform.platform(), packages=dict(sorted(packages.items())))


class RunRecord(Record):
    """A run."""

    id: str
    pipeline: str
    """Name of the model."""
    state: State
    error: str = ""
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    pipeline_sha256: str
    text: str
    """The pipeline file as it was read."""
    parameters: dict[str, Any]
    steps: tuple[StepRecord, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    fold_metrics: dict[str, list[float]] = Field(default_factory=dict)
    """Of each fold of the validation scheme, the one whose model is kept first; empty: there is one."""
    tuning: dict[str, Any] | None = None
    """What the search for settings came to; None: there was none."""
    evaluation: str = ""
    """The page that shows how good the model is."""
    history: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)
    """What was measured while training, by name: steps and values."""
    warnings: tuple[str, ...] = ()
    snapshot: str = ""
    """The version of the data; its fingerprint."""
    code: CodeRecord | None = None
    """The commit of the pipeline file, where git tracks it."""
    environment: Environment
    artifacts: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the bundle's files by name."""
    reports: dict[str, str] = Field(default_factory=dict)
    """Files for people by name: `validation`, what checks have found, and `quarantine`, the rows left out."""
    bundle: str = ""
    """The folder that was made."""


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace the record in a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{RUN_FILE}"
    new.write_text(record.model_dump_json(indent=2) + "\n")
    new.rename(folder / RUN_FILE)


def read_records(root: Path) -> list[RunRecord]:
    """Return the runs of a store, the latest first."""
    found = [RunRecord.model_validate_json(path.read_bytes()) for path in root.glob(f"*/{RUN_FILE}")]
    return sorted(found, key=lambda one: one.started_at, reverse=True)
