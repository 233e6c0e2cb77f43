"""A crew of workers on Ray: tasks that share the search's own study.

Not Ray Tune's own search: its `OptunaSearch` asks a study for settings, but prunes by Ray's schedulers, so that the
study would not know why a trial has ended, and pruners of Optuna would not be asked. Here Optuna's study in its storage
stays the one truth: workers ask it and tell it, pruners compare what all of them have told, and a search that was
killed is gone on with. Ray says where workers run, and with how much.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal_training.launchers.job import ERROR_FILE, raise_error
from shoal_training.launchers.ray_cluster import Share
from shoal_training.launchers.ray_process import drive
from shoal_training.tuning.worker import do_trials, said

if TYPE_CHECKING:
    from ray.util.queue import Queue

CALL_FILE: Final = "ray-call.json"
DRIVER: Final = "shoal_training.tuning.ray_driver"


class RayTasks:
    """Tasks of Ray, as many as there are workers.

    Args:
        share: What each of them takes, and of which cluster; its number of workers is that of one training.
        timeout_s: After which they are ended, the wait for free machines included; None: they take what they take.
    """

    def __init__(self, share: Share, timeout_s: float | None = None) -> None:
        self._share, self._timeout_s = share, timeout_s

    def run(self, folder: Path, numbers: Sequence[int], seconds: float, ended: Callable[[], None]) -> Mapping[int, str]:
        """See `Crew`."""
        call = {"share": self._share.model_dump(), "numbers": list(numbers), "until_s": time.time() + seconds}
        (folder / CALL_FILE).write_text(json.dumps(call) + "\n")
        (folder / ERROR_FILE).unlink(missing_ok=True)
        died: dict[int, str] = {}

        def take(line: str) -> None:
            with suppress(ValueError, KeyError, TypeError):  # Ray prints as well
                found = json.loads(line)
                if found["event"] == "trial":
                    ended()
                elif found["event"] == "died":
                    died[found["worker"]] = found["said"]

        child = drive(DRIVER, folder, self._share, take, self._timeout_s)
        raise_error(folder)
        child.raise_if_failed("tuning on Ray", "Ray's driver", 0)
        return died


def do_trials_of(folder: str, number: int, until_s: float, told: "Queue") -> str:
    """Do trials; return what has ended it early, as a line, or nothing."""
    (Path(folder) / f"process-{number}").write_text(f"{os.getpid()}\n")
    try:
        do_trials(Path(folder), number, until_s, lambda: told.put(json.dumps({"event": "trial"})))
    except Exception as problem:  # noqa: BLE001 - told by the search
        return said(problem)
    return ""
