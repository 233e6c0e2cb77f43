"""The bare runtime in several processes at once: how far this machine's cores add up at the moment.

As a program it is one of the processes: for each line of seconds on its input it says how many runs it made.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class BareRuns:
    """Processes that have the model open."""

    def __init__(self, processes: list["subprocess.Popen[str]"]) -> None:
        self._processes = processes

    def per_s(self, count: int, duration_s: float) -> float:
        """Return the runs a second of so many processes together."""
        for one in self._processes[:count]:
            print(duration_s, file=one.stdin, flush=True)
        return sum(float(one.stdout.readline()) for one in self._processes[:count] if one.stdout) / duration_s


@contextmanager
def bare_runs(path: Path, count: int) -> Iterator[BareRuns]:
    """Open a model in so many processes, one thread each."""
    command = [sys.executable, __file__, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        yield BareRuns(processes)
    finally:
        for one in processes:
            one.communicate(timeout=30)


def main() -> None:
    """Run as one of the processes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    inputs = {given.name: np.zeros(given.shape, dtype=np.float32)}
    for line in sys.stdin:
        count, end_s = 0, time.perf_counter() + float(line)
        while time.perf_counter() < end_s:
            session.run(None, inputs)
            count += 1
        print(count, flush=True)


if __name__ == "__main__":
    main()
