"""Searches: in this process, or by a crew of workers; a search that was killed is gone on with by calling it again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal_compression.output_folder import held_alone
from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Samples
from shoal_training.progress import Progress
from shoal_training.tuning.crew import Crew, Processes
from shoal_training.tuning.study import Study
from shoal_training.tuning.work import Work

_FOREVER_S: Final = 10.0 * 365 * 86_400
_MOST_RESTARTS: Final = 3
"""Of workers that end before the search does, all together for each of them."""


def search(
    work: Work, train: Samples, kept: Samples, folder: Path, progress: Progress, crew: Crew | None = None
) -> Study:
    """Search, and return the study once enough trials have ended or the time is over.

    Args:
        work: The search.
        train: What trials learn from.
        kept: What they are measured on.
        folder: Of the search; the same one goes on with it.
        progress: Told after each trial.
        crew: Who does the trials; None: this process, or several of this machine.

    Raises:
        DataError: Another search runs in the folder, the samples have no answers, or workers end again and again.
        TrainingError: What the crew raises.
    """
    if kept.y is None:
        raise DataError("tuning: the rows have no answers to measure trials by; name a target, or leave `tuning` out")
    folder.mkdir(parents=True, exist_ok=True)
    seconds = _FOREVER_S if work.tuning.minutes is None else 60 * work.tuning.minutes
    with held_alone(folder) as is_alone:
        if not is_alone:
            raise DataError(f"tuning: another search runs in {folder}; wait for its end")
        study = work.opened(folder)
        study.put_back()

        def ended() -> None:
            progress("tune", min(study.ended(), work.tuning.trials), work.tuning.trials)

        ended()
        until = time.monotonic() + seconds
        if crew is None and work.tuning.workers == 1:
            work.trials(train, kept, folder).run(study, until, ended)
        else:
            work.write(folder, train, kept)
            _run(crew or Processes(), work, folder, study, until, ended)
    return study


def _run(crew: Crew, work: Work, folder: Path, study: Study, until: float, ended: Callable[[], None]) -> None:
    """Let a crew search. A worker that dies is replaced, and what it had chosen is tried anew."""
    numbers, deaths = list(range(work.tuning.workers)), 0
    while numbers and time.monotonic() < until:
        died = crew.run(folder, numbers, max(0.0, until - time.monotonic()), ended)
        study.put_back()  # nobody works now
        deaths += len(died)
        if deaths > _MOST_RESTARTS * work.tuning.workers:
            raise DataError(f"tuning: its workers end before the search does: {next(iter(died.values()))}")
        is_short = study.ended() < work.tuning.trials
        numbers = list(died) if is_short else []
