"""What a search came to, as `tuning.json`."""

from pathlib import Path
from typing import Final

from pydantic import Field

from shoal_compression.values import Record
from shoal_training.tuning.settings import Setting

TUNING_FILE: Final = "tuning.json"


class TrialRecord(Record):
    """One trial."""

    number: int
    state: str
    """`complete`, `pruned` or `fail`."""
    value: float | None
    """Of the metric; of a pruned one the last that was told of it."""
    settings: dict[str, Setting]
    seconds: float | None
    reason: str = ""
    """Why it failed."""


class TuningResult(Record):
    """A search."""

    metric: str
    is_rising: bool
    value: float
    """Of the best trial, on rows that were kept from it."""
    settings: dict[str, Setting]
    """Of the best trial."""
    number: int
    """Of the best trial."""
    importances: dict[str, float] = Field(default_factory=dict)
    """By setting, 0..1: how much of the metric's variance it explains."""
    trials: tuple[TrialRecord, ...] = ()
    study: str = ""
    pictures: tuple[str, ...] = ()


def read_tuning(folder: Path) -> TuningResult:
    """Read what a search has written."""
    return TuningResult.model_validate_json((folder / TUNING_FILE).read_bytes())
