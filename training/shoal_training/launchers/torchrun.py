"""Trains one network in several processes of this machine by torchrun: DDP, over gloo on CPUs and nccl on GPUs.

If a process ends, torchrun starts all of them again, and they go on from the last checkpoint.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from shoal_training.errors import LaunchError
from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer
from shoal_training.launchers.child import running
from shoal_training.launchers.job import LOG_FILE, raise_error, write_job
from shoal_training.launchers.launcher import Launcher
from shoal_training.launchers.told import Told
from shoal_training.progress import silent

JOB_FOLDER: Final = "job"
WORKER: Final = "shoal_training.launchers.worker"
RESTARTS: Final = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""In torchrun's environment: its shared store keeps addresses of processes that are gone, to which those of the
next start would connect (PyTorch 2.13)."""


class Torchrun(Launcher):
    """Processes of this machine."""

    kind: ClassVar[str] = "torchrun"

    processes: int = Field(default=2, ge=1, le=64)
    """That train together; a step takes `batch` samples of each."""
    max_restarts: int = Field(default=3, ge=0, le=1000)
    """How often all are started again after one has ended."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Of the CPU, for each process."""

    def misfit(self, trainer: Trainer) -> str:
        """See `Launcher`."""
        if trainer.is_distributed:
            return ""
        found = f"torchrun trains networks of PyTorch, not {trainer.framework}"
        return f"{found}; name the framework torch, or the launcher local"

    def fit(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Launcher`."""
        misfit = self.misfit(trainer)
        if misfit:
            raise LaunchError(f"starting processes: {misfit}")
        folder = context.folder / JOB_FOLDER
        told = Told(context)
        write_job(folder, trainer, train, held_out, replace(context, threads=self.threads))
        with running(self.command(folder), folder / LOG_FILE, self._environment()) as child:
            for line in child.lines():
                told.take(line)
        raise_error(folder)
        child.raise_if_failed(f"training in {self.processes} processes", "torchrun", self.max_restarts)
        # What was trained is read from the last checkpoint, which says that it is finished.
        fitted = trainer.fit(train, held_out, replace(context, progress=silent, metric=told.metric))
        fitted.facts["processes"] = self.processes
        return fitted

    def command(self, folder: Path) -> list[str]:
        """Return the command that trains the job of a folder."""
        return torchrun_command(folder, ["--standalone"], self.processes, self.max_restarts)

    def _environment(self) -> dict[str, str]:
        lo = os.environ.get("GLOO_SOCKET_IFNAME", "lo")  # else by the machine's name, if it resolves
        return {"OMP_NUM_THREADS": str(self.threads), "GLOO_SOCKET_IFNAME": lo, **RESTARTS}


def torchrun_command(folder: Path, rendezvous: list[str], processes: int, max_restarts: int) -> list[str]:
    """Return torchrun's command for a job: each machine of a cluster runs it, with arguments that let them meet."""
    return [
        sys.executable,
        *("-m", "torch.distributed.run"),
        *rendezvous,
        f"--nproc-per-node={processes}",
        f"--max-restarts={max_restarts}",
        *("-m", WORKER, str(folder.absolute())),
    ]
