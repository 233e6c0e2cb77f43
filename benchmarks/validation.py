"""Checks of a million rows of 30 columns beside pandera's: not null, range, unique, categories and pattern.

Run as `python benchmarks/validation.py [--rounds N]`; prints JSON lines. Both have the rows in memory in their own
form, a table of Arrow and a frame of pandas (which keeps texts as Arrow does), and take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

import pyarrow.parquet as pq  # noqa: E402 - after the path
from compression_parts.lines import line  # noqa: E402 - after the path
from serving_parts.peer import install_peer  # noqa: E402 - after the path
from validation_parts.rows import (  # noqa: E402 - after the path
    CODES,
    COUNTS,
    KEYS,
    KNOWN,
    NUMBERS,
    PATTERN,
    ROWS,
    STATES,
    write_rows,
)

from shoal_training.validation.columns import Categories, NotNull, Pattern  # noqa: E402 - after the path
from shoal_training.validation.keys import Unique  # noqa: E402 - after the path
from shoal_training.validation.ranges import Range  # noqa: E402 - after the path
from shoal_training.validation.validate import ValidationResult, validate  # noqa: E402 - after the path

PINS: Final = ("pandera==0.35.0", "pandas==3.1.1", "polars==2.1.0", "pyarrow==26.0.1")
CHILD: Final = Path(__file__).parent / "validation_parts" / "pandera_child.py"
GOAL: Final = 5.0
CHECKS: Final = (
    NotNull(columns=(*NUMBERS, *COUNTS, *KEYS, *STATES, *CODES)),
    Range(columns=NUMBERS, min=-1, max=1),
    Range(columns=COUNTS, min=0, max=1_000),
    *(Unique(columns=(name,), keep="none") for name in KEYS),
    Categories(columns=STATES, known=KNOWN),
    Pattern(columns=CODES, pattern=PATTERN),
)


def main() -> None:
    """Measure rows that are clean, and rows of which some are bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    environment = install_peer(ROOT / ".cache" / "bench" / "pandera-0.35", PINS)
    for name, is_clean in (("validation_clean", True), ("validation_bad_rows", False)):
        with tempfile.TemporaryDirectory() as folder:
            path = write_rows(Path(folder) / "rows.parquet", is_clean=is_clean)
            _measure(name, environment, path, rounds)


def _measure(name: str, environment: Path, path: Path, rounds: int) -> None:
    table = pq.read_table(path)
    peers = {library: _started(environment, path, library) for library in ("pandas", "polars")}
    ours: list[tuple[float, float]] = []
    theirs: dict[str, list[tuple[float, float]]] = {library: [] for library in peers}
    failed: dict[str, int] = {}
    for at in range(rounds + 1):  # the first one warms up
        started, cpu = time.perf_counter(), time.process_time()
        result = validate(table, None, SimpleNamespace(checks=CHECKS, on_failure="warn"))
        ours += [(time.perf_counter() - started, time.process_time() - cpu)] if at else []
        for library, peer in peers.items():
            found = _asked(peer)
            theirs[library] += [(found["seconds"], found["cpu_seconds"])] if at else []
            failed[library] = int(found["failed"])
    for peer in peers.values():
        peer.kill()
        peer.wait()
    assert set(failed.values()) == {_failed_columns(result)}, (failed, _failed_columns(result))
    mine, my_cpu = (median(one) for one in zip(*ours, strict=True))
    for library, taken in theirs.items():
        seconds, cpu = (median(one) for one in zip(*taken, strict=True))
        ratio = seconds / mine
        line(
            name if library == "pandas" else f"{name}_{library}",
            "million rows a second",
            ROWS / 1e6 / mine,
            ROWS / 1e6 / seconds,
            f"pandera 0.35.0 on {library}",
            rounds,
            f"at least {GOAL:g} times" if library == "pandas" else None,
            ratio >= GOAL if library == "pandas" else None,
            ratio=ratio,
            columns=table.num_columns,
            failed_columns=failed[library],
            cpu_ratio=round(cpu / my_cpu, 2),
        )


def _failed_columns(result: ValidationResult) -> int:
    reasons = [reason for one in result.examined for reason, _ in one.outcome.reasons]
    return len({reason.split()[0] for reason in reasons})


def _started(environment: Path, path: Path, library: str) -> subprocess.Popen[str]:
    asked = {
        "numbers": NUMBERS,
        "counts": COUNTS,
        "keys": KEYS,
        "states": STATES,
        "codes": CODES,
        "known": KNOWN,
        "pattern": rf"^(?:{PATTERN})$",
    }
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command: list[str | Path] = [environment / "bin" / "python", CHILD, path, library, json.dumps(asked)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)


def _asked(peer: subprocess.Popen[str]) -> dict[str, float]:
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write("\n")
    peer.stdin.flush()
    return dict(json.loads(peer.stdout.readline()))


if __name__ == "__main__":
    main()
