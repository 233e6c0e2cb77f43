"""`python -m shoal_training.launchers.worker FOLDER`: one of the processes that torchrun starts for a job.

The first one tells progress and metrics as JSON lines on standard output, and writes the checkpoints.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from shoal_training.errors import TrainingError
from shoal_training.frameworks.trainer import TrainContext, no_metric
from shoal_training.launchers.job import ERROR_FILE, read_job, write_error
from shoal_training.progress import json_lines, silent


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


def _train(folder: Path) -> None:
    import torch
    from torch import distributed

    job, train, held_out = read_job(folder)
    trainer = job.made_trainer()
    has_gpus = torch.cuda.is_available() and getattr(trainer, "device", "auto") != "cpu"
    if has_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if has_gpus else "gloo")
    try:
        is_first = distributed.get_rank() == 0
        context = TrainContext(
            task=job.task,
            classes=job.classes,
            folder=folder / job.checkpoints,
            seed=job.seed,
            progress=json_lines if is_first else silent,
            metric=_tell if is_first else no_metric,
            threads=job.threads,
            sources=job.sources,
        )
        trainer.fit(train, held_out, context)
    finally:
        distributed.destroy_process_group()


def _tell(name: str, value: float, step: int) -> None:
    line: dict[str, Any] = {"event": "metric", "name": name, "value": value, "step": step}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
