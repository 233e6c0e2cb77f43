"""A PyTorch model as a LiteRT file in float32, by litert-torch in an environment of its own."""

import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar, Final, Literal

from shoal_compression import litert_torch_child
from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.litert_file import check_sizes, named_anew
from shoal_compression.litert_torch_environment import environment_python
from shoal_compression.model import Form, Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.convert.same_answers import check_same
from shoal_numerics.tensors import NUMPY_TYPES

COMPARED: Final = 4
LEAST_S: Final = 60.0
"""What the child is given at least: its imports alone take 10 s and more."""


class TorchToLitert(Technique):
    """Convert an exported program (`.pt2`) of fixed sizes to LiteRT with the model's names, and compare the two."""

    technique: Literal["torch-to-litert"] = "torch-to-litert"
    takes: ClassVar[frozenset[Form]] = frozenset({"torch"})
    gives: ClassVar[Form | None] = "tflite"
    is_lossless: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("torch", "ai-edge-litert")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: The environment is missing, an operator is not known, or the batch is open.
        """
        check_sizes(model)
        if model.is_batched:
            found = "an open batch found, expected a fixed one"
            raise TechniqueError(f"converting a PyTorch model to LiteRT: {found}; export it with a batch of 1")
        content = named_anew(
            _converted(model, max(LEAST_S, budget.left_s)),
            [spec.name for spec in model.inputs],
            [spec.name for spec in model.outputs],
        )
        made = model.with_content(content, form="tflite")
        few = data.calibration.first(COMPARED)
        expected, answered = (outputs_of(one, few, budget.threads) for one in (model, made))
        check_same(expected, answered, "converting a PyTorch model to LiteRT", "convert it with torch-to-onnx")
        return made


def _converted(model: Model, seconds: float) -> bytes:
    python = environment_python()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "model.pt2", Path(folder) / "model.tflite"
        source.write_bytes(model.content)
        kinds = [f"{NUMPY_TYPES[spec.datatype].name}:{','.join(map(str, spec.shape))}" for spec in model.inputs]
        # Isolated: this package's folder and PYTHONPATH would give it modules of the environment here.
        command = [str(part) for part in (python, "-I", litert_torch_child.__file__, source, out, *kinds)]
        doing = "converting a PyTorch model to LiteRT"
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            msg = f"{doing}: not done after {seconds:.0f} s"
            raise TechniqueError(f"{msg}; give the recipe a larger budget") from error
        if done.returncode != 0 or not out.exists():
            last = " ".join(done.stderr.strip().splitlines()[-3:])[-500:]
            raise TechniqueError(f"{doing}: {last}; replace that operator, or convert it with torch-to-onnx")
        return out.read_bytes()
