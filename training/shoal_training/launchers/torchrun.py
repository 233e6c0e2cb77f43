"""Trains one network in several processes of this machine by torchrun: DDP, over gloo on CPUs and nccl on GPUs.

If a process ends, torchrun starts all of them again, and they go on from the last checkpoint.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from shoal_training.errors import LaunchError
from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer
from shoal_training.launchers.job import LOG_FILE, raise_error, write_job
from shoal_training.launchers.launcher import Launcher
from shoal_training.progress import silent

JOB_FOLDER: Final = "job"
WORKER: Final = "shoal_training.launchers.worker"
RESTARTS: Final = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""In torchrun's environment: its shared store keeps addresses of processes that are gone, to which those of the
next start would connect (PyTorch 2.13)."""
_STOP_S: Final = 15.0
_TOLD: Final = 2_000
"""Characters of the log that an error shows."""


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
        told = _Told(context)
        write_job(folder, trainer, train, held_out, replace(context, threads=self.threads))
        with _running(self.command(folder), folder / LOG_FILE, context) as process:
            for line in process.stdout or ():
                told.take(line)
            code = process.wait()
        raise_error(folder)
        if code:
            raise LaunchError(
                f"training in {self.processes} processes: torchrun ended with code {code} after {self.max_restarts} "
                f"restarts at most; {folder / LOG_FILE} ends with: {_end_of(folder / LOG_FILE)}"
            )
        # What was trained is read from the last checkpoint, which says that it is finished.
        fitted = trainer.fit(train, held_out, replace(context, progress=silent, metric=told.metric))
        fitted.facts["processes"] = self.processes
        return fitted

    def command(self, folder: Path) -> list[str]:
        """Return the command that trains the job of a folder."""
        return torchrun_command(folder, ["--standalone"], self.processes, self.max_restarts)


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


class _Told:
    """Hands on what the first process tells, each metric of an epoch once: after a restart it tells them again."""

    def __init__(self, context: TrainContext) -> None:
        self._context = context
        self._known: set[tuple[str, int]] = set()

    def take(self, line: str) -> None:
        with suppress(ValueError, KeyError, TypeError):  # others print as well
            found = json.loads(line)
            if found["event"] == "progress":
                self._context.progress(found["stage"], found["done"], found["total"])
            elif found["event"] == "metric":
                self.metric(found["name"], found["value"], found["step"])

    def metric(self, name: str, value: float, step: int) -> None:
        if (name, step) not in self._known:
            self._known.add((name, step))
            self._context.metric(name, value, step)


@contextmanager
def _running(command: list[str], log: Path, context: TrainContext) -> Iterator["subprocess.Popen[str]"]:
    """Run torchrun; what it has started ends with the context, also where that is left by an error."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        "OMP_NUM_THREADS": str(context.threads or 1),
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),  # else by the machine's name, if it resolves
        **RESTARTS,
    }
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun ends its workers
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-_TOLD:].strip()
