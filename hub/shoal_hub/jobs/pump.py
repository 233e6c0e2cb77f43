"""Takes what a job's processes print into its bounded log: a process of its own, forked before anything is loaded.

It lives as long as one of them has the pipe open, so that the last words of a process that crashes are kept.
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from shoal_hub.jobs.log import BoundedLog

NAME: Final = "shoal-job-log"
"""By which it is told apart from the job's other processes; Linux takes 15 characters."""
_BLOCK: Final = 65_536


def pump_output(folder: Path, most_bytes: int) -> None:
    """Send all that this process and its children print into the log of a job's folder."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _pump(reading, folder, most_bytes)
    os.close(reading)
    for stream in (1, 2):
        os.dup2(writing, stream)
    os.close(writing)


def _pump(reading: int, folder: Path, most_bytes: int) -> None:
    """Write what comes until nobody has the pipe open, then end; what ends the job does not end this."""
    status = 1
    try:
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        Path("/proc/self/comm").write_text(NAME)
        with closing(BoundedLog(folder, most_bytes)) as log:
            while data := os.read(reading, _BLOCK):
                log.write(data)
        status = 0
    finally:
        os._exit(status)  # nothing of the process that it was forked from is to happen twice
