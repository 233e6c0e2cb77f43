"""Kills a process amid a run, at the n-th of its writes: by -9, so that nothing is tidied up."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from tests.training.batch_inference.models import run

_WRITES = ("os.rename", "os.remove", "os.mkdir")
"""Of Python's audit events, those by which files are there or are no more."""


class Countdown:
    """Counts writes, and kills this process at one of them.

    Args:
        at: Which; None: none, they are counted.
        tell: Gets how many there have been.
    """

    def __init__(self, at: int | None, tell: Callable[[int], None]) -> None:
        self._at, self._tell, self.count = at, tell, 0

    def hit(self, *_: Any) -> None:
        self.count += 1
        if self.count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: Any) -> None:
        if event in _WRITES or (event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]):
            self.hit()


def killed_run(folder: Path, sink: str, at: int | None) -> int:
    """Run in a process of its own, which is killed at its `at`-th write, or not; return how many writes there were."""
    context = forking()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(folder, sink, at, writer))
    process.start()
    writer.close()
    process.join(120)
    assert process.exitcode == (0 if at is None else -signal.SIGKILL), process.exitcode
    return int(reader.recv()) if at is None else at


def forking() -> ForkServerContext:
    """Return what starts processes quickly, with the libraries loaded once."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.training.batch_inference.killed", "onnxruntime", "pyarrow.parquet", "pyarrow.csv", "sqlalchemy"]
    )
    return context


def _run(folder: Path, sink: str, at: int | None, writer: Any) -> None:
    from sqlalchemy import Engine, event

    countdown = Countdown(at, writer.send)
    sys.addaudithook(countdown.audit)
    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, countdown.hit)
    run(folder, sink)
    writer.send(countdown.count)
