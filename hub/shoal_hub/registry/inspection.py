"""Looks into a bundle in a child process: a model that crashes its runtime must not take the API with it.

As a program: `python -m shoal_hub.registry.inspection DIR LIMITS` prints one line of JSON, an `Inspection` or an error.
"""

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from shoal_contract.limits import MAX_WATCHED_LABELS
from shoal_contract.manifest import Baseline
from shoal_hub.errors import HubError, InvalidInputError
from shoal_hub.registry.baseline import MAX_EMBEDDED, Reference, baseline_of
from shoal_hub.registry.calibration import calibration_of, labels_of
from shoal_hub.registry.gate import check_bundle_file
from shoal_hub.registry.limits import BundleLimits
from shoal_numerics.tensors import NUMPY_TYPES
from shoal_training.bundle import BUNDLE_FILE, CALIBRATION_FILE, ONNX_FILE, TEST_FILE, Bundle, read_bundle
from shoal_training.errors import DataError, TrainingError
from shoal_training.onnx_samples import OnnxModel

MAX_BASELINE_ROWS: Final = 100_000
TIMEOUT_S: Final = 120.0
MAX_MEMORY_BYTES: Final = 8 * 2**30
PRIVATE: Final = ("SHOAL_", "OTEL_", "PG", "AWS_", "CREDENTIALS_DIRECTORY")
"""How names of variables begin that hold secrets, or say where they are."""
_REMEDY: Final = "check the bundle with the tool that wrote it, and write it again"

Arrays = dict[str, NDArray[Any]]


class Inspection(BaseModel):
    """What registration learns from the bundle's own data."""

    model_config = ConfigDict(frozen=True)

    baseline: Baseline


def inspect_in_child(folder: Path, limits: BundleLimits) -> Inspection:
    """Inspect a bundle in a child process.

    Raises:
        InvalidInputError: The bundle is not whole, or its model does not load or run.
    """
    command = [sys.executable, "-m", "shoal_hub.registry.inspection", str(folder), limits.model_dump_json()]
    # What a runtime does with a hostile file happens without what names secrets, like the database's.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environ)
    except subprocess.TimeoutExpired as error:
        raise InvalidInputError(
            f"inspecting the model took more than {TIMEOUT_S:g} s", "send less calibration data"
        ) from error
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
        if "error" in answer:
            raise InvalidInputError(answer["error"], answer["remedy"])
        return Inspection.model_validate(answer)
    except (IndexError, ValueError) as error:
        cause = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise InvalidInputError(f"inspecting the model: its runtime crashed ({cause[0][:200]})", _REMEDY) from error


def inspect(folder: Path, limits: BundleLimits) -> Inspection:
    """Check every file of a bundle, compute its baseline, and see that its model answers its test data.

    Raises:
        InvalidInputError: A file is not what its name says, or data or model do not fit the bundle's description.
        TrainingError: The bundle is not whole.
    """
    bundle = read_bundle(folder)
    _check_names({path.name for path in folder.iterdir()} - {BUNDLE_FILE}, set(bundle.files))
    for name in bundle.files:
        check_bundle_file(folder / name, limits)
    calibration = _inputs(folder / CALIBRATION_FILE, bundle)
    test = _inputs(folder / TEST_FILE, bundle) if TEST_FILE in bundle.files else None
    try:
        scores, embedded, sure = _run(folder / ONNX_FILE, bundle, calibration, test)
    except DataError as error:
        raise InvalidInputError(str(error), _REMEDY) from error
    baseline = baseline_of(bundle, Reference(calibration, scores, embedded))
    if scores is not None and TEST_FILE in bundle.files:
        told = calibration_of(baseline, sure, labels_of(folder / TEST_FILE, len(sure), len(bundle.labels)))
        baseline = baseline.model_copy(update={"calibration": told})
    return Inspection(baseline=baseline)


def _check_names(found: set[str], named: set[str]) -> None:
    """See that the bundle names every file that is opened here: only what it names passes the gate and is kept."""
    missing, unnamed = sorted({ONNX_FILE, CALIBRATION_FILE} - named - found), sorted(found - named)
    if missing:
        raise InvalidInputError(f"inspecting the bundle: it has no {', '.join(missing)}", _REMEDY)
    if unnamed:
        raise InvalidInputError(f"inspecting the bundle: bundle.json does not name {', '.join(unnamed)[:200]}", _REMEDY)


def _inputs(path: Path, bundle: Bundle) -> Arrays:
    """Return samples of the model's inputs out of an .npz: by name, or `x` where there is one input; texts as `str`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            named = {spec.name: archive[spec.name if spec.name in archive else "x"] for spec in bundle.inputs}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"reading {path.name}: {error}", _REMEDY) from error
    for spec in bundle.inputs:
        array, shape = named[spec.name], spec.shape if bundle.batching is None else (-1, *spec.shape)
        fits = array.ndim == len(shape) > 0 and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.size == 0 or array.dtype.kind not in ("U" if spec.datatype == "BYTES" else "fiub"):
            msg = f"reading {path.name}: {spec.name} is {array.dtype}{array.shape}, expected {spec.datatype}{shape}"
            raise InvalidInputError(msg, _REMEDY)
    rows = min(len(array) for array in named.values())
    kept = {spec.name: named[spec.name][: min(rows, MAX_BASELINE_ROWS)] for spec in bundle.inputs}
    return {spec.name: kept[spec.name].astype(NUMPY_TYPES[spec.datatype]) for spec in bundle.inputs}


def _run(
    path: Path, bundle: Bundle, calibration: Arrays, test: Arrays | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.float32]]:
    """Run the model on all data, and see that samples lie where the bundle says.

    Returns:
        The first output for the calibration's samples, (n, labels), None where it is none of scores that are watched;
        the one that is embedded, (n, values), of the first samples, None where none is; and the first output for the
        test's samples, (m, labels), without rows where there are none.

    Raises:
        DataError: The model does not load, does not run, or answers samples together otherwise than alone.
        InvalidInputError: The output that is to be embedded is not one row of numbers a sample.
    """
    model = OnnxModel(path, [spec.name for spec in bundle.outputs], is_batched=bundle.batching is None)
    if bundle.batching is None and all(spec.shape[:1] == (-1,) for spec in bundle.inputs):
        model.check_apart(calibration)
    labels = len(bundle.labels) if 1 < len(bundle.labels) <= MAX_WATCHED_LABELS else 0
    scores: list[NDArray[np.float32]] = []
    sure = [np.empty((0, labels), dtype=np.float32)]
    for outputs in model.runs(test) if test is not None else ():
        rows = _scores_of(outputs[bundle.outputs[0].name], bundle, labels)
        sure += [] if rows is None else [rows]
    embedded: list[NDArray[np.float32]] = []
    for outputs in model.runs(calibration):
        rows = _scores_of(outputs[bundle.outputs[0].name], bundle, labels)
        scores += [] if rows is None else [rows]
        if bundle.embedded is not None and sum(map(len, embedded)) < MAX_EMBEDDED:
            embedded.append(_embedded_rows(outputs[bundle.embedded], bundle))
    found = np.concatenate(scores) if scores else np.empty((0, labels), dtype=np.float32)
    is_scored = labels and len(found) == len(next(iter(calibration.values())))
    return found if is_scored else None, _joined(embedded, bundle), np.concatenate(sure)


def _scores_of(first: NDArray[Any], bundle: Bundle, labels: int) -> NDArray[np.float32] | None:
    """Return the first output as (n, labels) float32 scores; None where it is none."""
    rows = first if bundle.batching is None else first.reshape(1, -1)
    return rows.astype(np.float32) if rows.shape[1:] == (labels,) and rows.dtype.kind in "fiu" else None


def _embedded_rows(output: NDArray[Any], bundle: Bundle) -> NDArray[np.float32]:
    samples = output if bundle.batching is None else output[np.newaxis]
    if samples.ndim == 0 or samples.size == 0 or samples.dtype.kind not in "fiub":
        message = f"embedding output {bundle.embedded}: {output.dtype}{output.shape} found, expected numbers"
        raise InvalidInputError(message, _REMEDY)
    return samples.reshape(len(samples), -1).astype(np.float32)


def _joined(embedded: list[NDArray[np.float32]], bundle: Bundle) -> NDArray[np.float32] | None:
    if not embedded:
        return None
    widths = sorted({part.shape[1] for part in embedded})
    if len(widths) > 1:
        message = f"embedding output {bundle.embedded}: {widths[0]} to {widths[-1]} values, expected as many a sample"
        raise InvalidInputError(message, "name an output of a fixed size, or none")
    return np.concatenate(embedded)


def _main() -> None:
    # A small file can unpack to more than the machine has: the child fails then, and nothing else.
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        answer = inspect(Path(sys.argv[1]), BundleLimits.model_validate_json(sys.argv[2])).model_dump_json()
    except HubError as error:
        answer = json.dumps({"error": error.message, "remedy": error.remedy})
    except TrainingError as error:
        answer = json.dumps({"error": str(error), "remedy": _REMEDY})
    sys.stdout.write(answer + "\n")


if __name__ == "__main__":
    _main()
