"""What workers of Ray do: train the job of a folder, alone or together, and tell of it through a queue.

An error of the training is left in the folder, and the worker ends well: Ray would only start it again.
"""

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal_training.errors import LaunchError, TrainingError
from shoal_training.launchers.job import ERROR_FILE, JOB_FILE, read_job, write_error
from shoal_training.launchers.told import Telling
from shoal_training.launchers.worker import train_together

if TYPE_CHECKING:
    from ray.util.queue import Queue

FITTED_FILE: Final = "fitted.pickle"
"""The model of a trainer that keeps no checkpoints."""


def train_alone(named: str, told: "Queue") -> None:
    """Train the job of a folder; as a task of Ray."""
    folder = _begun(named, 0)
    try:
        job, train, held_out = read_job(folder)
        trainer = job.made_trainer()
        fitted = trainer.fit(train, held_out, job.context(folder, Telling(told.put)))
    except TrainingError as error:
        write_error(folder, error)
        return
    if not trainer.keeps_checkpoints:
        (folder / FITTED_FILE).write_bytes(pickle.dumps(fitted))


def train_among_others(config: dict[str, Any]) -> None:
    """Train the job of a folder as one of several workers, whom Ray Train has made a group of torch.distributed."""
    from torch import distributed

    folder = _begun(config["folder"], distributed.get_rank())
    if (folder / ERROR_FILE).is_file():  # an error that is there again after every start
        return
    try:
        train_together(folder, Telling(config["told"].put))
    except TrainingError as error:
        write_error(folder, error)
    finally:
        distributed.destroy_process_group()  # others that wait for this one end as well


def _begun(named: str, rank: int) -> Path:
    """Note who trains, and return the job's folder.

    Raises:
        LaunchError: This machine has no such folder.
    """
    folder = Path(named)
    if not (folder / JOB_FILE).is_file():
        raise LaunchError(
            f"training on {os.uname().nodename}: there is no {folder} here; keep results (`--store`) in a folder that "
            "all machines of the cluster have at the same place"
        )
    (folder / f"process-{rank}").write_text(f"{os.getpid()}\n")
    return folder
