"""Measures the memory that a model file takes, in a child process of its own: `python -m shoal_compression.memory`.

In a process that has loaded other models, or anything else, nobody could tell whose memory it is.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, cast, get_args

import numpy as np

from shoal_compression.errors import TechniqueError
from shoal_compression.runners import load_runner
from shoal_contract.reported import Runtime

RUNS: Final = 3
TIMEOUT_S: Final = 600.0
"""For loading the file and running it a few times."""
PRIVATE: Final = ("SHOAL_", "OTEL_", "PG", "AWS_", "CREDENTIALS_DIRECTORY")
"""How names of variables begin that hold secrets, or say where they are."""
STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"
"""What resets a process's peak, written to its `clear_refs`: proc_pid_clear_refs(5)."""


def memory_bytes(
    runtime: Runtime, path: Path, input_name: str, output_name: str, sample_shape: tuple[int, ...]
) -> int | None:
    """Return by how much a process grows at its peak while it loads a model file and runs it on single samples.

    None where the system has no `/proc` to tell it.

    Args:
        runtime: What runs the file; it is loaded before, and so not counted.
        path: The file.
        input_name: Of its input, float32.
        output_name: Of its output.
        sample_shape: Of one sample.

    Raises:
        TechniqueError: The file can not be loaded or run, or takes longer than `TIMEOUT_S`.
    """
    if not STATUS.exists():
        return None
    shape = ",".join(map(str, sample_shape))
    command = [sys.executable, "-m", "shoal_compression.memory", runtime, str(path), input_name, output_name, shape]
    # What a runtime does with a hostile file happens without what may name secrets of who measures.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S, env=environ)
    except subprocess.CalledProcessError as error:
        raise TechniqueError(f"measuring the memory of {path}: {error.stderr.strip()[-500:]}") from error
    except subprocess.TimeoutExpired as error:
        raise TechniqueError(f"measuring the memory of {path}: not done after {TIMEOUT_S:g} s") from error
    return int(done.stdout.split()[-1])


def _measure(runtime: Runtime, path: Path, input_name: str, output_name: str, shape: tuple[int, ...]) -> int:
    """Return this process's growth at its peak, or to its end where the peak can not be reset; see `memory_bytes`."""
    import_runtime(runtime)
    sample = np.zeros((1, *shape), np.float32)
    figure = "VmHWM" if reset_peak() else "VmRSS"
    before_bytes = status_bytes("VmRSS")
    runner = load_runner(runtime, path, input_name, output_name)
    for _ in range(RUNS):
        runner(sample)
    return max(0, status_bytes(figure) - before_bytes)


def reset_peak() -> bool:
    """Let the process's peak begin anew; False where the kernel, or a sandbox, does not allow it."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def import_runtime(runtime: Runtime) -> None:
    """Import a runtime, so that it is not counted."""
    if runtime == "onnxruntime":
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401


def status_bytes(name: str) -> int:
    """Return a figure of this process, such as `VmRSS`."""
    line = next(one for one in STATUS.read_text().splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(arguments: list[str]) -> int:
    """Print the growth of one file."""
    runtime, path, input_name, output_name, shape = arguments
    if runtime not in get_args(Runtime):
        known = ", ".join(get_args(Runtime))
        sys.stderr.write(f"measuring memory: runtime {runtime!r} found, expected one of {known}\n")
        return 2
    sizes = tuple(int(size) for size in shape.split(",") if size)
    sys.stdout.write(f"{_measure(cast('Runtime', runtime), Path(path), input_name, output_name, sizes)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
