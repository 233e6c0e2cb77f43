"""`python -m shoal_training.launchers.ray_driver FOLDER TEMPORARY`: trains the job of a folder on Ray.

It is a process of its own because of what Ray makes of one (handlers of signals, threads, the environment), and because
all that a driver has started ends with it, however that comes. What workers tell goes on to the standard output.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from shoal_training.errors import LaunchError, MemoryNeededError, TrainingError
from shoal_training.launchers.job import write_error
from shoal_training.launchers.ray import SHARE_FILE
from shoal_training.launchers.ray_cluster import Share, connected, end_with_parent
from shoal_training.launchers.ray_worker import train_alone, train_among_others

if TYPE_CHECKING:
    from ray.util.queue import Queue

_TOLD: Final = 1_000
"""Characters of what Ray says that an error shows."""


def main(folder: Path, temporary: str) -> int:
    """Train; return the exit code."""
    end_with_parent()
    share = Share.model_validate_json((folder / SHARE_FILE).read_bytes())
    doing = f"training with {share.workers} workers of Ray, started again {share.retries} times at most"
    try:
        with connected(share, temporary), relayed() as told, says_ended(doing):
            if share.workers == 1:
                _train_alone(folder, share, told)
            else:
                _train_together(folder, share, told)
    except TrainingError as error:
        write_error(folder, error)
        return 1
    return 0


def _train_alone(folder: Path, share: Share, told: "Queue") -> None:
    import ray

    options = share.of_a_task() | {"max_retries": share.retries}
    ray.get(ray.remote(train_alone).options(**options).remote(str(folder), told))


def _train_together(folder: Path, share: Share, told: "Queue") -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    memory = {} if share.memory_bytes is None else {"memory": float(share.memory_bytes)}
    amounts = {"CPU": float(share.cpus), "GPU": float(share.gpus), **memory}
    TorchTrainer(
        train_among_others,
        train_loop_config={"folder": str(folder), "told": told},
        scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=share.gpus > 0, resources_per_worker=amounts),
        # Checkpoints are the training's own, in its folder; Ray Train has nothing to keep but its notes.
        run_config=RunConfig(
            name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=share.retries)
        ),
    ).fit()


@contextmanager
def relayed() -> Iterator["Queue"]:
    """Give a queue of lines that workers fill; each goes to the standard output as it comes."""
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    queue = Queue(actor_options={"num_cpus": 0})

    def relay() -> None:
        with suppress(RayError):  # the cluster is gone, which the driver says
            while (line := queue.get()) is not None:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

    thread = Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        with suppress(RayError):
            queue.put(None)
            thread.join()
            queue.shutdown()


@contextmanager
def says_ended(doing: str) -> Iterator[None]:
    """Let errors of Ray say what was being done.

    Raises:
        TrainingError: That a worker has raised, by its own class.
        MemoryNeededError: Ray has ended a worker because its machine was short of memory.
        LaunchError: Workers have ended otherwise, too often.
    """
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
    from ray.train import TrainingFailedError

    try:
        yield
    except OutOfMemoryError as error:
        raise MemoryNeededError(
            f"{doing}: {_last_words(error)}; take smaller batches, or ask for more by `memory_mb`"
        ) from error
    except RayTaskError as error:
        if isinstance(error.cause, TrainingError):
            raise error.cause from None
        raise LaunchError(f"{doing}: {_last_words(error)}") from error
    except (RayError, TrainingFailedError) as error:
        raise LaunchError(f"{doing}: {_last_words(error)}") from error


def _last_words(error: Exception) -> str:
    return " ".join(str(error).split())[-_TOLD:]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
