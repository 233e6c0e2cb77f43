"""Who does the trials of a search: a crew of workers, each the work of `worker`, over one study that they share."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

_ERROR_BYTES: Final = 2000


class Crew(Protocol):
    """Runs workers."""

    def run(self, folder: Path, numbers: Sequence[int], seconds: float, ended: Callable[[], None]) -> Mapping[int, str]:
        """Run workers until each has ended; all that it has started ends with the call.

        Args:
            folder: Of the search, with its work.
            numbers: Of the workers.
            seconds: After this call, beyond which none begins a trial.
            ended: Called after each trial.

        Returns:
            What those said that failed, by number.

        Raises:
            TrainingError: No workers can be had.
        """


class Processes:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}

    def run(self, folder: Path, numbers: Sequence[int], seconds: float, ended: Callable[[], None]) -> Mapping[int, str]:
        """See `Crew`."""
        died, until_s = {}, time.time() + seconds
        try:
            with selectors.DefaultSelector() as selector:
                for number in numbers:
                    selector.register(self._start(folder, number, until_s), selectors.EVENT_READ)
                while self._running:
                    for key, _ in selector.select():
                        if os.read(key.fd, 4096):
                            ended()
                            continue
                        selector.unregister(key.fileobj)
                        number, process = self._running.pop(key.fd)
                        process.communicate()
                        if process.returncode != 0:
                            died[number] = _said(_log(folder, number))
        finally:
            for _, process in self._running.values():
                process.terminate()
                process.communicate()
            self._running.clear()
        return died

    def _start(self, folder: Path, number: int, until_s: float) -> IO[bytes]:
        arguments = [sys.executable, "-m", "shoal_training.tuning.worker", str(folder), str(number), str(until_s)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
        with _log(folder, number).open("wb") as log:
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, env=environment)
        assert process.stdout is not None  # noqa: S101 - asked for
        self._running[process.stdout.fileno()] = (number, process)
        return process.stdout


def _said(log: Path) -> str:
    text = log.read_bytes()[-_ERROR_BYTES:].decode(errors="replace").strip() if log.is_file() else ""
    return text.rpartition("\n")[2] or "it was killed"


def _log(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.log"
