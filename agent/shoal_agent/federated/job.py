"""What the daemon and the training child say to each other: one JSON file in, one JSON file and one update out."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class TrainingJob(BaseModel):
    """What the child shall do. Paths are the daemon's own, never from the network."""

    model_config = ConfigDict(frozen=True)

    trainer: Path
    weights: Path
    dataset: Path
    update: Path
    """Where the child writes the coded update."""
    result: Path
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    update_scheme: Literal["float32", "int8"]
    max_update_bytes: int
    max_examples: int
    max_memory_bytes: int
    max_cpu_s: int
    nice: int


class TrainingResult(BaseModel):
    """What the child did."""

    model_config = ConfigDict(frozen=True)

    examples: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    duration_s: float = 0.0
    peak_memory_bytes: int = 0
    error: str = ""
    """Why it did not train; empty when it did."""
