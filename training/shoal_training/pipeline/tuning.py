"""The step `tune` of a run: trials on rows that are learned from, and the trainer that they recommend."""

import os
import shutil
from pathlib import Path
from typing import TypeVar

import numpy as np

from shoal_training.evaluation.schemes import checked_folds, inner_scheme
from shoal_training.frameworks.trainer import Samples, Trainer
from shoal_training.launchers.ray import Ray
from shoal_training.pipeline import steps
from shoal_training.progress import Progress
from shoal_training.tuning.ray_crew import RayTasks
from shoal_training.tuning.result import read_tuning
from shoal_training.tuning.search import search
from shoal_training.tuning.settings import Tuning, with_settings
from shoal_training.tuning.study import STUDY_FILE
from shoal_training.tuning.work import Work
from shoal_training.tuning.writing import write_tuning

AnyOne = TypeVar("AnyOne", bound=Trainer)


def do_tune(rows: steps.Rows, tuning: Tuning, prepared: Path, folder: Path, working: Path, progress: Progress) -> None:
    """Search for settings, or go on with a search that was killed, and write what it came to.

    Trials learn from a part of the rows that are learned from, and are measured on the rest of them, parted as the
    pipeline's scheme parts all rows; the preparation was fitted on both. Where training runs on Ray, so do they.
    """
    pipeline, training = rows.pipeline, rows.pipeline.model_training
    samples = steps.read_samples(prepared / steps.TRAIN_FILE)
    part, kept = _parted(rows, samples, tuning)
    on_ray = training.compute if isinstance(training.compute, Ray) else None
    cores = len(os.sched_getaffinity(0))
    threads = None if tuning.workers == 1 else max(1, cores // tuning.workers)
    work = Work(
        tuning=tuning,
        trainer=training.trainer,
        task=training.task,
        classes=len(steps.read_about(prepared).labels),
        seed=pipeline.seed,
        study=f"{pipeline.name}-{working.name[:16]}",
        threads=threads if on_ray is None else on_ray.cpus,
        sources=training.trainer.sources(rows.folder),
    )
    crew = None if on_ray is None else RayTasks(on_ray.share(), on_ray.timeout_s)
    study = search(work, part, kept, working, progress, crew)
    write_tuning(study, work.metric, work.study, folder)
    study.close()
    if (working / STUDY_FILE).is_file():
        shutil.copyfile(working / STUDY_FILE, folder / STUDY_FILE)


def tuned_trainer(trainer: AnyOne, folder: Path) -> AnyOne:
    """Return a trainer with the settings that a search has found."""
    return with_settings(trainer, read_tuning(folder).settings)


def _parted(rows: steps.Rows, samples: Samples, tuning: Tuning) -> tuple[Samples, Samples]:
    training, scheme = rows.pipeline.model_training, rows.pipeline.model_evaluation.validation_scheme
    learned = rows.table.take(rows.folds()[0].train)
    target = training.target if training.task == "classification" else None
    inner = inner_scheme(scheme, tuning.validation_ratio)
    fold = checked_folds(inner, learned, target, rows.pipeline.seed, rows.folder)[0]
    return _taken(samples, fold.train), _taken(samples, fold.test)


def _taken(samples: Samples, places: np.ndarray) -> Samples:
    weight = None if samples.weight is None else samples.weight[places]
    return Samples(samples.x[places], None if samples.y is None else samples.y[places], weight)
