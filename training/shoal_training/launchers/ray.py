"""Trains on Ray: one process as a task, several as workers of Ray Train; on a cluster, or on a Ray started for it here.

Files go through the context's folder, which every machine of a cluster has to have at the same place.
"""

import pickle
from dataclasses import replace
from typing import ClassVar, Final

from pydantic import Field

from shoal_training.errors import LaunchError
from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer
from shoal_training.launchers.job import raise_error, write_job
from shoal_training.launchers.launcher import Launcher
from shoal_training.launchers.ray_cluster import Share
from shoal_training.launchers.ray_process import drive
from shoal_training.launchers.ray_worker import FITTED_FILE
from shoal_training.launchers.told import Told
from shoal_training.progress import silent

JOB_FOLDER: Final = "job"
SHARE_FILE: Final = "ray.json"
DRIVER: Final = "shoal_training.launchers.ray_driver"


class Ray(Launcher, Share):
    """Workers of Ray."""

    kind: ClassVar[str] = "ray"

    timeout_s: float | None = Field(default=None, gt=0)
    """After which the training is ended, the wait for free machines included; None: it takes what it takes."""

    def misfit(self, trainer: Trainer) -> str:
        """See `Launcher`."""
        if self.workers == 1 or trainer.is_distributed:
            return ""
        found = f"{self.workers} workers of ray train a network of PyTorch together, not {trainer.framework}"
        return f"{found}; name the framework torch, or leave out `workers`"

    def fit(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Launcher`."""
        misfit = self.misfit(trainer)
        if misfit:
            raise LaunchError(f"training on Ray: {misfit}")
        folder, told = context.folder / JOB_FOLDER, Told(context)
        write_job(folder, trainer, train, held_out, replace(context, threads=self.cpus))
        (folder / SHARE_FILE).write_text(self.share().model_dump_json() + "\n")
        child = drive(DRIVER, folder, self, told.take, self.timeout_s)
        raise_error(folder)
        child.raise_if_failed(f"training with {self.workers} workers", "Ray's driver", self.retries)
        fitted = self._fitted(trainer, train, held_out, replace(context, progress=silent, metric=told.metric))
        fitted.facts["processes"] = self.workers
        return fitted

    def share(self) -> Share:
        """Return what a training takes of its cluster."""
        return Share.model_validate(self.model_dump(include=set(Share.model_fields)))

    def _fitted(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """Return what was trained: from the last checkpoint, which says that it is finished, where one is kept."""
        if trainer.keeps_checkpoints:
            return trainer.fit(train, held_out, context)
        with (context.folder / JOB_FOLDER / FITTED_FILE).open("rb") as file:
            found = pickle.load(file)  # noqa: S301 - of our own worker, which Ray asks by pickles as well
        assert isinstance(found, Fitted)  # noqa: S101 - as it was written
        return found
