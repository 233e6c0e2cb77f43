"""Makes a bundle of the ONNX file and the samples of an MLflow model, in a child process with bounds.

As a program: `python -m shoal_hub.mlflow.bundle_child FOLDER OUT REQUEST` prints one line of JSON: `{}`, or the reason
why no device can serve the model. What a runtime does with a hostile file ends this process, and no other.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from shoal_hub.errors import HubError, InvalidInputError
from shoal_hub.registry.gate import check_bundle_file
from shoal_hub.registry.inspection import MAX_MEMORY_BYTES, PRIVATE
from shoal_hub.registry.limits import BundleLimits
from shoal_training.bundle import Parameter
from shoal_training.errors import DataError, TrainingError
from shoal_training.onnx_bundle import About, bundle_from_onnx
from shoal_training.onnx_samples import Array, OnnxModel

TIMEOUT_S: Final = 90.0
EXAMPLES: Final = ("input_example.json", "serving_input_example.json")
"""In which MLflow keeps the `input_example` that a model was logged with."""


class MakeRequest(BaseModel):
    """What a bundle is made of.

    Attributes:
        name: Of the model, as devices call it.
        author: Who registers it.
        framework: What trained it.
        model: The ONNX file's name in the folder.
        samples: That of the archive of samples; without, MLflow's own input example is taken.
        parameters: Of the run.
        metrics: Of the run.
        limits: Of the gate.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    author: str
    framework: str
    model: str
    samples: str | None
    parameters: dict[str, Parameter]
    metrics: dict[str, float]
    limits: BundleLimits


def make_in_child(folder: Path, out: Path, request: MakeRequest) -> None:
    """Make the bundle in a child process.

    Raises:
        InvalidInputError: The model and its samples make none; the reason is told.
    """
    command = [sys.executable, "-m", "shoal_hub.mlflow.bundle_child", str(folder), str(out), request.model_dump_json()]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environ)
        answer = json.loads(child.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise InvalidInputError(
            f"running the ONNX model took more than {TIMEOUT_S:g} s", "log fewer samples"
        ) from error
    except (IndexError, ValueError) as error:
        cause = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise InvalidInputError(f"the ONNX model's runtime crashed ({cause[0][:200]})", "export it again") from error
    if "reason" in answer:
        raise InvalidInputError(answer["reason"], answer["remedy"])


def _make(folder: Path, out: Path, request: MakeRequest) -> None:
    model = folder / request.model
    check_bundle_file(model, request.limits)
    if request.samples is not None:
        check_bundle_file(folder / request.samples, request.limits)
    samples = _samples(folder, model, request.samples)
    about = About(
        name=request.name,
        author=request.author,
        labels=_labels(folder),
        algorithm="logged by an MLflow client",
        framework=request.framework,
        parameters=request.parameters,
        metrics=request.metrics,
    )
    bundle_from_onnx(model, samples, out, about)


def _samples(folder: Path, model: Path, name: str | None) -> dict[str, Array]:
    if name is not None:
        with np.load(folder / name, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    examples = [folder / one for one in EXAMPLES if (folder / one).is_file()]
    if not examples:
        raise DataError("there are no samples of the model's inputs beside the ONNX file")
    inputs = [found.name for found in OnnxModel(model).session.get_inputs()]
    return arrays_of(json.loads(examples[0].read_text()), inputs)


def arrays_of(example: Any, inputs: list[str]) -> dict[str, Array]:  # noqa: ANN401 - JSON
    """Return an MLflow input example as an array for each of a model's inputs.

    Args:
        example: As its file has it: `inputs` (or `instances`) by name or for the only input, or a table with `columns`
            and `data`, bare or as `dataframe_split`.
        inputs: Names of the model's inputs.

    Raises:
        DataError: It is of another form, or not of these inputs.
    """
    told = example if isinstance(example, dict) else {"inputs": example}
    table = told.get("dataframe_split", told)
    if isinstance(table, dict) and "data" in table:
        rows = np.array(table["data"], dtype=np.float64)
        columns = [str(one) for one in table.get("columns", range(rows.shape[-1]))]
        if sorted(columns) == sorted(inputs):
            return {name: rows[:, [columns.index(name)]] for name in inputs}
        values: Any = rows
    else:
        values = told.get("inputs", told.get("instances", told))
    if isinstance(values, dict):
        return {str(name): np.array(one) for name, one in values.items()}
    if len(inputs) != 1:
        raise DataError(f"the input example names no inputs, and the model has {len(inputs)}: {', '.join(inputs)}")
    return {inputs[0]: np.array(values)}


def _labels(folder: Path) -> tuple[str, ...]:
    path = folder / "labels.txt"
    return tuple(path.read_text().splitlines()) if path.is_file() else ()


def _main() -> None:
    # A small file can unpack to more than the machine has: this process fails then, and nothing else.
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    answer = {}
    try:
        _make(Path(sys.argv[1]), Path(sys.argv[2]), MakeRequest.model_validate_json(sys.argv[3]))
    except HubError as error:
        answer = {"reason": error.message, "remedy": error.remedy}
    except (TrainingError, ValueError, KeyError, OSError) as error:
        answer = {"reason": str(error), "remedy": "log samples.npz with an array for each input beside the ONNX file"}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main()
