"""`python -m shoal_training.tuning.worker FOLDER NUMBER UNTIL`: a process of a search; it writes a line a trial.

UNTIL is in seconds since 1970: a worker may begin long after it was asked for.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from shoal_training.tuning.work import read_work


def do_trials(folder: Path, number: int, until_s: float, ended: Callable[[], None]) -> None:
    """Do trials of a search until there are enough, or it is so many seconds after 1970; call `ended` after each."""
    work, train, kept = read_work(folder)
    until = time.monotonic() + until_s - time.time()
    study = work.opened(folder, number)
    work.trials(train, kept, folder).run(study, until, ended)
    study.close()


def said(problem: Exception) -> str:
    """Return what a worker says of what has ended it, in a line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:500]}"


def _write_line() -> None:
    sys.stdout.write("ended\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        do_trials(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), _write_line)
    except Exception as problem:  # noqa: BLE001 - whoever has started it tells its last line
        sys.exit(said(problem))
