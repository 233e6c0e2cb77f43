"""Samples a second of two processes under torchrun beside one, and what the restart after a killed worker costs.

Run as `python benchmarks/ddp.py`; prints JSON lines. One thread a process in both arms, the same batch a process; arms
take turns. Times are of whole epochs, their checkpoints and measures among them, without the start of the processes.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts.lines import line  # noqa: E402 - after the path
from training_parts.problems import CLASSES, images  # noqa: E402 - after the path

from shoal_training.frameworks.torch_trainer import Torch  # noqa: E402 - after the path
from shoal_training.frameworks.trainer import TrainContext  # noqa: E402 - after the path
from shoal_training.launchers.torchrun import Torchrun  # noqa: E402 - after the path

BATCH, ROWS, EPOCHS, TURNS = 64, 64 * 120, 6, 3
LEAST_SPEED_UP: Final = 1.7
INTERVAL: Final = 10
"""Steps between the checkpoints of the training that is killed."""


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS, help="of each arm; 0: only the restart")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.turns:
            speed_up(Path(name), options.turns)
        restart(Path(name))


def speed_up(folder: Path, turns: int) -> None:
    """Print the samples a second of two processes beside one."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(turns):
        for processes in (1, 2) if turn % 2 else (2, 1):
            rates[processes] += epochs_of(processes, folder / f"{turn}-{processes}")
            print(f"{processes}: {rates[processes][-1]:.0f} samples/s", file=sys.stderr)
    one, two = statistics.median(rates[1]), statistics.median(rates[2])
    line(
        "ddp_two_processes",
        "samples a second",
        two,
        one,
        "one process",
        len(rates[1]),
        f"at least {LEAST_SPEED_UP}",
        two / one >= LEAST_SPEED_UP,
        batch=BATCH,
        threads_each=1,
        cores=os.cpu_count(),
    )


def epochs_of(processes: int, folder: Path) -> list[float]:
    """Return the samples a second of each epoch but the first, which warms up."""
    ended: list[float] = []
    context = TrainContext(
        "classification", CLASSES, folder, progress=lambda _stage, _done, _total: ended.append(time.perf_counter())
    )
    network = {"kind": "cnn", "channels": [16, 32], "hidden": [64]}
    trainer = Torch.model_validate({"network": network, "batch": BATCH, "epochs": EPOCHS, "device": "cpu"})
    Torchrun(processes=processes, threads=1).fit(trainer, images(ROWS), None, context)
    return [ROWS / (after - before) for before, after in pairwise(ended)]


def restart(folder: Path) -> None:
    """Let a worker be killed at the end of an interval, and count the steps that were done twice."""
    log = folder / "log"
    log.mkdir()
    steps = ROWS // (2 * BATCH)
    dies_at = steps + 2 * INTERVAL  # the last step of an interval, in the second epoch
    parameters = {"log": str(log), "dies_at": dies_at}
    network: dict[str, Any] = {"kind": "own", "build": "counted.py:build", "parameters": parameters}
    fields = {"network": network, "batch": BATCH, "epochs": 3, "checkpoint_steps": INTERVAL, "device": "cpu"}
    source = (Path(__file__).parent / "training_parts" / "counted.py").read_text()
    context = TrainContext("classification", CLASSES, folder / "killed", sources={"counted.py": source})
    began = time.perf_counter()
    Torchrun(processes=2, max_restarts=1).fit(Torch.model_validate(fields), images(ROWS), None, context)
    lost = [(log / rank).stat().st_size - 3 * steps for rank in ("0", "1")]
    line(
        "ddp_restart",
        "steps that a process did twice after one of two was killed at the end of an interval",
        max(lost),
        None,
        "the checkpoint interval",
        3 * steps,
        f"at most {INTERVAL}, one interval",
        0 < max(lost) <= INTERVAL,
        seconds_in_all=round(time.perf_counter() - began, 1),
    )


if __name__ == "__main__":
    main()
