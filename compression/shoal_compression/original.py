"""What is compressed: a float version, its file in each form that there is, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shoal_compression.data import Data
from shoal_compression.errors import SourceError
from shoal_compression.model import Form, Model
from shoal_compression.recipe import Recipe


@dataclass(frozen=True)
class Original:
    """A float version to compress. All its models are the same network, and say the same."""

    name: str
    models: Mapping[Form, Model]
    data: Data
    seed: int = 0

    @property
    def reference(self) -> Model:
        """What variants are compared with: the first there is of ONNX, LiteRT, Keras."""
        forms: tuple[Form, ...] = ("onnx", "tflite", "keras")
        return next(self.models[form] for form in forms if form in self.models)

    def start(self, recipe: Recipe) -> Model:
        """Return the model that a recipe begins with.

        Raises:
            SourceError: There is none in a form that it takes.
        """
        forms: tuple[Form, ...] = ("onnx", "keras", "tflite")
        fitting = [form for form in forms if form in self.models and form in recipe.takes]
        if not fitting:
            found = f"{', '.join(sorted(self.models))} found, expected {' or '.join(sorted(recipe.takes))}"
            raise SourceError(f"choosing the file of {self.name} for {recipe.name}: {found}; choose another recipe")
        return self.models[fitting[0]]


def read_original(
    path: Path,
    calibration: Path | None = None,
    test: Path | None = None,
    train: Path | None = None,
) -> Original:
    """Read a bundle folder, or a bare `.onnx`, `.tflite` or `.keras` file with its samples.

    Args:
        path: The folder or the file. Of a folder the other arguments replace its own files.
        calibration: An `.npz` with an array for each input, by its name or `x`; a bundle has its own.
        test: The same, with labels under `y` and slices under `slice/NAME`; left out beside a bare file, the second
            half of `calibration` is held out.
        train: The same, to train on; a bundle may have `train.npz`.

    Raises:
        SourceError: A file is missing, altered, or no model.
        DataError: The samples do not fit the model.
    """
    raise NotImplementedError
