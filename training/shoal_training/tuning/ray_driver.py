"""`python -m shoal_training.tuning.ray_driver FOLDER TEMPORARY`: lets workers on Ray do the trials of a search.

It writes a JSON line after each trial, and one for each worker that failed, with what it said.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shoal_training.launchers.ray_cluster import Share
from shoal_training.launchers.ray_process import driven
from shoal_training.tuning.ray_crew import CALL_FILE, do_trials_of
from shoal_training.tuning.worker import said

if TYPE_CHECKING:
    from ray.util.queue import Queue


def main(folder: Path, temporary: str) -> int:
    """Search; return the exit code."""
    call = json.loads((folder / CALL_FILE).read_text())
    numbers: list[int] = call["numbers"]
    share = Share.model_validate(call["share"]).model_copy(update={"workers": len(numbers)})
    return driven(folder, temporary, share, partial(_search, folder, share, numbers, call["until_s"]))


def _search(folder: Path, share: Share, numbers: list[int], until_s: float, told: "Queue") -> None:
    import ray
    from ray.exceptions import RayError

    # What dies is not started again by Ray: the search does, once it has put back what was tried.
    task = ray.remote(do_trials_of).options(**share.of_a_task(), max_retries=0)
    for number, one in [(number, task.remote(str(folder), number, until_s, told)) for number in numbers]:
        try:
            failed = ray.get(one)
        except RayError as error:
            failed = said(error)
        if failed:
            told.put(json.dumps({"event": "died", "worker": number, "said": failed}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
