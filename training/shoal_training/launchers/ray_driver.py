"""`python -m shoal_training.launchers.ray_driver FOLDER TEMPORARY`: trains the job of a folder on Ray."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shoal_training.launchers.ray import SHARE_FILE
from shoal_training.launchers.ray_cluster import Share
from shoal_training.launchers.ray_process import driven, says_ended
from shoal_training.launchers.ray_worker import train_alone, train_among_others

if TYPE_CHECKING:
    from ray.util.queue import Queue


def main(folder: Path, temporary: str) -> int:
    """Train; return the exit code."""
    share = Share.model_validate_json((folder / SHARE_FILE).read_bytes())
    return driven(folder, temporary, share, partial(_train, folder, share))


def _train(folder: Path, share: Share, told: "Queue") -> None:
    doing = f"training with {share.workers} workers of Ray, started again {share.retries} times at most"
    if share.workers > 1:
        _train_together(folder, share, told, doing)
        return
    import ray

    options = share.of_a_task() | {"max_retries": share.retries}
    with says_ended(doing):
        ray.get(ray.remote(train_alone).options(**options).remote(str(folder), told))


def _train_together(folder: Path, share: Share, told: "Queue", doing: str) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    memory = {} if share.memory_bytes is None else {"memory": float(share.memory_bytes)}
    amounts = {"CPU": float(share.cpus), "GPU": float(share.gpus), **memory}
    trainer = TorchTrainer(
        train_among_others,
        train_loop_config={"folder": str(folder), "told": told},
        scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=share.gpus > 0, resources_per_worker=amounts),
        # Checkpoints are the training's own, in its folder; Ray Train has nothing to keep but its notes.
        run_config=RunConfig(
            name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=share.retries)
        ),
    )
    with says_ended(doing, TrainingFailedError):
        trainer.fit()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
