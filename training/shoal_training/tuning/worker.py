"""`python -m shoal_training.tuning.worker FOLDER NUMBER SECONDS`: a process of a search; it writes a line a trial."""

import sys
import time
from pathlib import Path

from shoal_training.tuning.work import read_work


def main(folder: Path, number: int, seconds: float) -> None:
    """Do trials until there are enough, or the seconds are over."""
    work, train, kept = read_work(folder)
    until = time.monotonic() + seconds

    def ended() -> None:
        sys.stdout.write("ended\n")
        sys.stdout.flush()

    work.trials(train, kept, folder).run(work.opened(folder, number), until, ended)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except Exception as problem:  # noqa: BLE001 - whoever has started it tells its last line
        sys.exit(f"{type(problem).__name__}: {' '.join(str(problem).split())[:500]}")
