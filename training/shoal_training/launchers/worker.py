"""`python -m shoal_training.launchers.worker FOLDER`: one of the processes that torchrun starts for a job.

The first one tells progress and metrics as JSON lines on standard output, and writes the checkpoints.
"""

import os
import sys
from pathlib import Path

from shoal_training.errors import TrainingError
from shoal_training.launchers.job import ERROR_FILE, read_job, write_error
from shoal_training.launchers.told import Telling


def main(folder: Path) -> int:
    """Train; return the exit code."""
    (folder / f"process-{os.environ['RANK']}").write_text(f"{os.getpid()}\n")
    if (folder / ERROR_FILE).is_file():  # an error that is there again after every start
        return 1
    try:
        _train(folder)
    except TrainingError as error:
        write_error(folder, error)
        return 1
    return 0


def train_together(folder: Path, telling: Telling) -> None:
    """Train the job of a folder as one of the processes of torch.distributed, which is set up; the first one tells.

    Raises:
        TrainingError: What the trainer raises.
    """
    from torch import distributed

    job, train, held_out = read_job(folder)
    is_first = distributed.get_rank() == 0
    job.made_trainer().fit(train, held_out, job.context(folder, telling if is_first else None))


def _train(folder: Path) -> None:
    import torch
    from torch import distributed

    trainer = read_job(folder)[0].made_trainer()
    has_gpus = torch.cuda.is_available() and getattr(trainer, "device", "auto") != "cpu"
    if has_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if has_gpus else "gloo")
    try:
        train_together(folder, Telling(_write_line))
    finally:
        distributed.destroy_process_group()


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
