"""A crew of workers on Ray: tasks that share the search's own study.

Not Ray Tune's own search: its `OptunaSearch` asks a study for settings, but prunes by Ray's schedulers, so that the
study would not know why a trial has ended, and pruners of Optuna would not be asked. Here Optuna's study in its storage
stays the one truth: workers ask it and tell it, pruners compare what all of them have told, and a search that was
killed is gone on with. Ray says where workers run, and with how much.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal_training.launchers.child import running
from shoal_training.launchers.job import raise_error
from shoal_training.launchers.ray_cluster import Share, ray_environment
from shoal_training.tuning.worker import do_trials, said

if TYPE_CHECKING:
    from ray.util.queue import Queue

CALL_FILE: Final = "ray-call.json"
DRIVER: Final = "shoal_training.tuning.ray_driver"
_LOG_FILE: Final = "ray.log"


class RayTasks:
    """Tasks of Ray, as many as there are workers.

    Args:
        share: What each of them takes, and of which cluster; its number of workers is that of one training.
    """

    def __init__(self, share: Share) -> None:
        self._share = share

    def run(self, folder: Path, numbers: Sequence[int], seconds: float, ended: Callable[[], None]) -> Mapping[int, str]:
        """See `Crew`."""
        call = {"share": self._share.model_dump(), "numbers": list(numbers), "seconds": seconds}
        (folder / CALL_FILE).write_text(json.dumps(call) + "\n")
        died: dict[int, str] = {}
        with tempfile.TemporaryDirectory(prefix="shoal-ray-", ignore_cleanup_errors=True) as temporary:
            command = [sys.executable, "-m", DRIVER, str(folder.absolute()), temporary]
            with running(command, folder / _LOG_FILE, ray_environment(self._share)) as child:
                for line in child.lines():
                    number, _, said = line.strip().partition(" ")
                    if said == "ended":
                        ended()
                    elif said:
                        died[int(number)] = said
        raise_error(folder)
        child.raise_if_failed("tuning on Ray", "Ray's driver", 0)
        return died


def do_trials_of(folder: str, number: int, seconds: float, told: "Queue") -> str:
    """Do trials; return what has ended it early, as a line, or nothing."""
    (Path(folder) / f"process-{number}").write_text(f"{os.getpid()}\n")
    try:
        do_trials(Path(folder), number, seconds, lambda: told.put(f"{number} ended"))
    except Exception as problem:  # noqa: BLE001 - told by the search
        return said(problem)
    return ""
