"""Measures the memory that a model takes, in a process of its own: `python -m shoal_compression.model_memory`.

In a process that has loaded other models, or anything else, nobody could tell whose memory it is.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import RUNTIMES, Form, Model
from shoal_compression.running import load, unpickled
from shoal_contract.manifest import TensorSpec
from shoal_contract.reported import Runtime

RUNS: Final = 3
TIMEOUT_S: Final = 600.0
"""For loading the file and running it a few times."""
PRIVATE: Final = ("SHOAL_", "OTEL_", "PG", "AWS_", "CREDENTIALS_DIRECTORY")
"""How names of variables begin that hold secrets, or say where they are."""
_STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"
"""What resets a process's peak, written to its `clear_refs`: proc_pid_clear_refs(5)."""
_MODEL: Final = "model"
_SAMPLE: Final = "sample.npz"
_ABOUT: Final = "about.json"
_MEASURED: Final[dict[tuple[object, ...], int]] = {}


class _About(BaseModel):
    form: Form
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def model_memory_bytes(model: Model, samples: Samples) -> int | None:
    """Return by how much a process grows at its peak while it loads a model and runs it on the first sample.

    None of a Keras model, which no device runs, and where the system has no `/proc` to tell it.

    Raises:
        TechniqueError: The model can not be loaded or run, or takes longer than `TIMEOUT_S`.
    """
    if model.form not in RUNTIMES or not _STATUS.exists():
        return None
    key = (model.sha256, *(array.shape[1:] for array in samples.inputs.values()))
    if key not in _MEASURED:  # the source comes again with each of its variants
        _MEASURED[key] = _in_a_process_of_its_own(model, samples)
    return _MEASURED[key]


def _in_a_process_of_its_own(model: Model, samples: Samples) -> int:
    about = _About(form=model.form, inputs=model.inputs, outputs=model.outputs)
    # What a runtime does with a hostile file happens without what may name secrets of who measures.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / _MODEL).write_bytes(model.content)
        (folder / _ABOUT).write_text(about.model_dump_json())
        np.savez(folder / _SAMPLE, allow_pickle=False, **unpickled(next(samples.feeds(model))))
        command = [sys.executable, "-m", "shoal_compression.model_memory", name]
        doing = f"measuring the memory of {model.described}"
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S, env=environ)
        except subprocess.CalledProcessError as error:
            raise TechniqueError(f"{doing}: {error.stderr.strip()[-500:]}") from error
        except subprocess.TimeoutExpired as error:
            raise TechniqueError(f"{doing}: not done after {TIMEOUT_S:g} s") from error
    return int(json.loads(done.stdout.splitlines()[-1]))


def _measure(folder: Path) -> int:
    """Return this process's growth at its peak, or to its end where the peak can not be reset."""
    about = _About.model_validate_json((folder / _ABOUT).read_bytes())
    _import_runtime(RUNTIMES[about.form])
    model = Model(about.form, (folder / _MODEL).read_bytes(), about.inputs, about.outputs)
    with np.load(folder / _SAMPLE, allow_pickle=False) as archive:
        feed = {name: archive[name] for name in archive.files}
    figure = "VmHWM" if _reset_peak() else "VmRSS"
    before_bytes = _status_bytes("VmRSS")
    run = load(model)
    for _ in range(RUNS):
        run(feed)
    return max(0, _status_bytes(figure) - before_bytes)


def _reset_peak() -> bool:
    """Let the process's peak begin anew; False where the kernel, or a sandbox, does not allow it."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _import_runtime(runtime: Runtime) -> None:
    """Import a runtime, so that it is not counted."""
    if runtime == "onnxruntime":
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401


def _status_bytes(name: str) -> int:
    """Return a figure of this process, such as `VmRSS`."""
    line = next(one for one in _STATUS.read_text().splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(Path(sys.argv[1]))}\n")
