"""The process that works with Ray for another one, from both sides: how it is started, what it does around its work.

It is a process of its own because of what Ray makes of one (handlers of signals, threads, the environment), and because
all that a driver of Ray has started ends with it, however that comes.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from shoal_training.errors import LaunchError, MemoryNeededError, TrainingError
from shoal_training.launchers.child import Child, running
from shoal_training.launchers.job import ERROR_FILE, LOG_FILE, write_error
from shoal_training.launchers.ray_cluster import RayNotStartedError, Share, connected, ray_environment

if TYPE_CHECKING:
    from ray.util.queue import Queue

_TOLD: Final = 1_000
"""Characters of what Ray says that an error shows."""
_NOT_STARTED: Final = 75
STARTS: Final = 5
"""Of a Ray on this machine: it ends if one of its own processes needs more than 15 s to begin, and has no setting for
that; on a busy machine the next one finds its files in memory."""


def drive(
    module: str, folder: Path, share: Share, take: Callable[[str], None], timeout_s: float | None = None
) -> Child:
    """Run a driver to its end, and return what has become of it.

    Args:
        module: Whose `main` is called with the folder and another one for what Ray writes.
        folder: Of the work.
        share: What it takes of which cluster.
        take: Given each line that it writes.
        timeout_s: After which it is ended.
    """
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="shoal-ray-", ignore_cleanup_errors=True) as temporary:
            command = [sys.executable, "-m", module, str(folder.absolute()), temporary]
            with running(command, folder / LOG_FILE, ray_environment(share), timeout_s) as child:
                for line in child.lines():
                    take(line)
        if child.process.returncode != _NOT_STARTED:
            break
    return child


def driven(folder: Path, temporary: str, share: Share, work: Callable[["Queue"], None]) -> int:
    """Do work as part of a cluster; return the exit code. This process ends with the one that has started it.

    Args:
        folder: Of the work; an error is left there.
        temporary: For what Ray writes.
        share: What is taken of which cluster.
        work: Given a queue, whose lines go to the standard output as they come.
    """
    _end_with_parent()
    try:
        with connected(share, temporary), _relayed() as told:
            work(told)
    except RayNotStartedError as error:
        sys.stderr.write(f"{error}\n")
        return _NOT_STARTED
    except TrainingError as error:
        if not (folder / ERROR_FILE).is_file():  # what a worker has said comes first: others end because of it
            write_error(folder, error)
        return 1
    return 0


@contextmanager
def says_ended(doing: str, *kinds: type[Exception]) -> Iterator[None]:
    """Let errors of Ray say what was being done.

    Args:
        doing: What was.
        kinds: Of errors that are none of Ray's own class.

    Raises:
        TrainingError: That a worker has raised, by its own class.
        MemoryNeededError: Ray has ended a worker because its machine was short of memory.
        LaunchError: Workers have ended otherwise, too often.
    """
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

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
    except (RayError, *kinds) as error:
        raise LaunchError(f"{doing}: {_last_words(error)}") from error


@contextmanager
def _relayed() -> Iterator["Queue"]:
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


def _end_with_parent() -> None:
    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):  # a file object's lock would be waited for when Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, daemon=True).start()


def _last_words(error: Exception) -> str:
    return " ".join(str(error).split())[-_TOLD:]
