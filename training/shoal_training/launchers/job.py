"""A training as files, for processes other than the one that asks for it: `job.json` and the samples.

Arrays are opened without being read, so that processes on one machine share them.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_compression.values import Record
from shoal_training import errors
from shoal_training.errors import DataError, LaunchError, TrainingError
from shoal_training.frameworks.trainer import Samples, Task, TrainContext, Trainer, no_metric
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.launchers.told import Telling
from shoal_training.progress import silent

JOB_FILE: Final = "job.json"
ERROR_FILE: Final = "error.json"
LOG_FILE: Final = "workers.log"
_PARTS: Final = ("train", "held_out")


class Job(Record):
    """What `job.json` says."""

    framework: str
    trainer: dict[str, Any]
    """Fields of the trainer."""
    task: Task
    classes: int
    seed: int
    threads: int | None
    sources: dict[str, str]
    checkpoints: str
    """The folder of checkpoints; seen from the job's folder, where it is relative."""

    def made_trainer(self) -> Trainer:
        """Return the trainer."""
        return BY_NAME[self.framework].model_validate(self.trainer)

    def context(self, folder: Path, telling: Telling | None) -> TrainContext:
        """Return what goes with training the job of a folder; without `telling`, nobody is told how it goes."""
        return TrainContext(
            task=self.task,
            classes=self.classes,
            folder=folder / self.checkpoints,
            seed=self.seed,
            progress=silent if telling is None else telling.progress,
            metric=no_metric if telling is None else telling.metric,
            threads=self.threads,
            sources=self.sources,
        )


def write_job(
    folder: Path,
    trainer: Trainer,
    train: Samples,
    held_out: Samples | None,
    context: TrainContext,
    checkpoints: str | None = None,
) -> None:
    """Write a job into a folder, in place of what was there; `checkpoints`: where its processes look for them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part, samples in zip(_PARTS, (train, held_out), strict=True):
        for name, array in ({} if samples is None else samples._asdict()).items():
            if array is not None:
                np.save(folder / f"{part}.{name}.npy", array)
    job = Job(
        framework=trainer.framework,
        trainer=trainer.model_dump(mode="json"),
        task=context.task,
        classes=context.classes,
        seed=context.seed,
        threads=context.threads,
        sources=dict(context.sources),
        checkpoints=checkpoints or str(context.folder.absolute()),
    )
    (folder / JOB_FILE).write_text(job.model_dump_json() + "\n")


def read_job(folder: Path) -> tuple[Job, Samples, Samples | None]:
    """Read a job and its samples.

    Raises:
        DataError: There is none.
    """
    try:
        job = Job.model_validate_json((folder / JOB_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"reading the job {folder}: {error}; write it again") from error
    train, held_out = (_samples(folder, part) for part in _PARTS)
    if train is None:
        raise DataError(f"reading the job {folder}: it has no samples; write it again")
    return job, train, held_out


def write_error(folder: Path, error: TrainingError) -> None:
    """Leave an error for the process that asked; starting again would not help."""
    (folder / ERROR_FILE).write_text(json.dumps({"error": type(error).__name__, "message": str(error)}) + "\n")


def raise_error(folder: Path) -> None:
    """Raise the error that a worker has left, if one has.

    Raises:
        TrainingError: Of the class that the worker raised.
    """
    path = folder / ERROR_FILE
    if not path.is_file():
        return
    found = json.loads(path.read_text())
    kind = getattr(errors, found["error"], LaunchError)
    raise kind(found["message"])


def _samples(folder: Path, part: str) -> Samples | None:
    found = {
        name: np.load(path, mmap_mode="c")  # written to by nobody, but PyTorch wants what it could write to
        for name in Samples._fields
        if (path := folder / f"{part}.{name}.npy").is_file()
    }
    return Samples(found["x"], found.get("y"), found.get("weight")) if "x" in found else None
