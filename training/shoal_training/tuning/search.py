"""Searches: in this process, or in several; a search that was killed is gone on with by calling it again."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from shoal_compression.output_folder import held_alone
from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Samples
from shoal_training.progress import Progress
from shoal_training.tuning.study import Study
from shoal_training.tuning.work import Work

_FOREVER_S: Final = 10.0 * 365 * 86_400
_MOST_RESTARTS: Final = 3
"""Of processes that end before the search does, all together a worker."""
_ERROR_BYTES: Final = 2000


def search(work: Work, train: Samples, kept: Samples, folder: Path, progress: Progress) -> Study:
    """Search, and return the study once enough trials have ended or the time is over.

    Args:
        work: The search.
        train: What trials learn from.
        kept: What they are measured on.
        folder: Of the search; the same one goes on with it.
        progress: Told after each trial.

    Raises:
        DataError: Another search runs in the folder, the samples have no answers, or processes end again and again.
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
        if work.tuning.workers == 1:
            work.trials(train, kept, folder).run(study, time.monotonic() + seconds, ended)
        else:
            work.write(folder, train, kept)
            _Workers(work, folder, study, time.monotonic() + seconds, ended).run()
    return study


class _Workers:
    """The processes of a search. One that dies is replaced, and what it had chosen is tried anew."""

    def __init__(self, work: Work, folder: Path, study: Study, until: float, ended: Callable[[], None]) -> None:
        self._work, self._folder, self._study, self._until, self._ended = work, folder, study, until, ended
        self._running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}
        self._died = 0

    def run(self) -> None:
        numbers = list(range(self._work.tuning.workers))
        while numbers and time.monotonic() < self._until:
            died = self._round(numbers)
            self._study.put_back()  # nobody works now
            self._died += len(died)
            if self._died > _MOST_RESTARTS * self._work.tuning.workers:
                raise DataError(f"tuning: its processes end before the search does: {self._said(died[0])}")
            is_short = self._study.ended() < self._work.tuning.trials
            numbers = died if is_short else []

    def _round(self, numbers: list[int]) -> list[int]:
        """Run processes to their end; return those that failed."""
        died = []
        try:
            with selectors.DefaultSelector() as selector:
                for number in numbers:
                    selector.register(self._start(number), selectors.EVENT_READ)
                while self._running:
                    for key, _ in selector.select():
                        if os.read(key.fd, 4096):
                            self._ended()
                            continue
                        selector.unregister(key.fileobj)
                        number, process = self._running.pop(key.fd)
                        process.communicate()
                        if process.returncode != 0:
                            died.append(number)
        finally:
            for _, process in self._running.values():
                process.terminate()
                process.communicate()
            self._running.clear()
        return died

    def _start(self, number: int) -> IO[bytes]:
        seconds = max(0.0, self._until - time.monotonic())
        arguments = [sys.executable, "-m", "shoal_training.tuning.worker", str(self._folder), str(number), str(seconds)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
        with self._log(number).open("wb") as log:
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, env=environment)
        assert process.stdout is not None  # noqa: S101 - asked for
        self._running[process.stdout.fileno()] = (number, process)
        return process.stdout

    def _said(self, number: int) -> str:
        path = self._log(number)
        text = path.read_bytes()[-_ERROR_BYTES:].decode(errors="replace").strip() if path.is_file() else ""
        return text.rpartition("\n")[2] or "it was killed"

    def _log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"
