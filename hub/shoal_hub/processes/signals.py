"""How a process of the hub is told to end: by a signal, or because its supervisor has gone."""

import os
import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

LIFELINE: Final = "SHOAL_LIFELINE_FD"
"""Environment variable with the reading end of a pipe that only the supervisor holds open."""


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` in a thread of its own at SIGTERM, at SIGINT, and when the supervisor's end of the lifeline closes.

    A handler runs amid whatever the main thread does: a lock that is held there would never be released for it.
    """
    words: queue.SimpleQueue[None] = queue.SimpleQueue()  # its `put` alone is safe in a signal handler

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        words.put(None)

    def follow() -> None:
        while True:
            words.get()
            stop()

    threading.Thread(target=follow, name="stop", daemon=True).start()
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    follow_supervisor()


def follow_supervisor() -> None:
    """End this process when its supervisor ends, however that comes about; without one, do nothing."""
    descriptor = os.environ.pop(LIFELINE, "")
    if descriptor:
        threading.Thread(target=_watch, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)  # returns when the last writing end is closed: by the system, even after a kill -9
    os.kill(os.getpid(), signal.SIGTERM)
