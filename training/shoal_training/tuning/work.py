"""The work of a search as a folder, so that processes of their own can take part: samples, trainer, settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from shoal_training.errors import DataError
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.metrics import main_metric, metrics_of
from shoal_training.frameworks.trainer import Samples, Task, TrainContext, Trainer
from shoal_training.frameworks.trainers import AnyTrainer
from shoal_training.tuning.settings import Tuning
from shoal_training.tuning.study import Study
from shoal_training.tuning.trial import Trials

WORK_FILE: Final = "work.json"
_SAMPLES: Final = {"train": "tune-train.npz", "kept": "tune-kept.npz"}


@dataclass(frozen=True)
class Work:
    """A search that is to be done.

    Attributes:
        tuning: The search.
        trainer: Whose settings are searched for.
        task: What is learned.
        classes: Number of labels, 0 without.
        seed: Of each training.
        study: The study's name.
        threads: Of each process; None: all.
        sources: The trainer's own files, by name.
    """

    tuning: Tuning
    trainer: Trainer
    task: Task
    classes: int
    seed: int
    study: str
    threads: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """The metric that is searched for.

        Raises:
            DataError: The task has none of this name.
        """
        wanted = self.tuning.metric or main_metric(self.task).name
        known = {one.name: one for one in metrics_of(self.task)}
        if wanted not in known:
            raise DataError(f"tuning: no metric is called {wanted}; known are {', '.join(known)}")
        return known[wanted]

    def trials(self, train: Samples, kept: Samples, folder: Path) -> Trials:
        """Return the trials of the search."""
        context = TrainContext(
            task=self.task,
            classes=self.classes,
            folder=folder / "trials",
            seed=self.seed,
            threads=self.threads,
            sources=self.sources,
        )
        return Trials(self.tuning, self.trainer, train, kept, self.metric, context)

    def opened(self, folder: Path, worker: int = 0) -> Study:
        """Return the study."""
        return Study(folder, self.study, self.tuning, is_rising=self.metric.is_rising, worker=worker)

    def write(self, folder: Path, train: Samples, kept: Samples) -> None:
        """Write it for processes of their own."""
        fields: dict[str, Any] = {
            "tuning": self.tuning.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "trainer": {"framework": self.trainer.framework, **self.trainer.model_dump(mode="json", by_alias=True)},
            "task": self.task,
            "classes": self.classes,
            "seed": self.seed,
            "study": self.study,
            "threads": self.threads,
            "sources": dict(self.sources),
        }
        for name, samples in (("train", train), ("kept", kept)):
            given = {key: one for key, one in samples._asdict().items() if one is not None}
            np.savez(folder / _SAMPLES[name], allow_pickle=False, **given)
        (folder / WORK_FILE).write_text(json.dumps(fields) + "\n")


def read_work(folder: Path) -> tuple[Work, Samples, Samples]:
    """Read a search and its samples: what trials learn from, and what they are measured on."""
    fields = json.loads((folder / WORK_FILE).read_text())
    fields["tuning"] = Tuning.model_validate(fields["tuning"])
    fields["trainer"] = TypeAdapter(AnyTrainer).validate_python(fields["trainer"])
    return Work(**fields), _read_samples(folder / _SAMPLES["train"]), _read_samples(folder / _SAMPLES["kept"])


def _read_samples(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as found:
        return Samples(**{name: found[name] for name in found.files})
